/** What is wrong with something a user handed in. The text is one line and says what to change. */
export class BadInput<Code extends string = string> extends Error {
  readonly code: Code;
  constructor(code: Code, message: string) {
    super(message);
    this.name = 'BadInput';
    this.code = code;
  }
}
