import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unpackXz } from './xz.ts';

/** What {@link sample} gives, packed with the options of a kernel build: --check=crc32 --x86 --lzma2. */
const PACKED = [
  '/Td6WFoAAAFpIt42AgEEACEBHACHbtrl4BdvCI9dAHRgFgCAGRH45EpTs9lUcHMF6jInZ+kjQq6zo+C3IPU8umVSWH+BPtovIN+HM4HGia94iD',
  'Uyyk0t7wBfrKovPxwjrHssSll2yvZM/t5yvys5icphhFnH0wqxFMOHCBBkeuX6yDQMb6wqChOGNUJudB9HGtF3Dsc9GbXlzaryBgAn5EN+3Jtv',
  '+0lQ/rVyLK97mT2dtHGQj91ayK5vkmMpyeCTrwvuTTWfdON06LOsS1/JkyRHlsX5VkzCvYZyxPgHuOfE2Ht0cX+S9wpdQfxp3qikMKUc/c35VQ',
  'GJU5eeBB4MQcGAHxNDc5OD0Oo5UilyHoo5YP29FRjUVfXlgFGJ+x7D3KwLPXj1u3rCVHT+INEiaGzpoJW9+yu/C+PpwfocQ9CvmuSrYfcRhUjS',
  '/xFpAyyOI+s+JF3RK1WLMBnMKhQNT1bD8L89Q2K2+VWz/fYNZRlL1PEnN4y4JqqX1JK6iK1zbQzSp6nLUd1hzunZYNg5Sk1QHGJzEcoGbi28Jr',
  '6BkMfbs9U1n6w1t4jAViw5Set9MwBbKp8wtOcUIdYPfZpEkdvVzIdjgMKtzZacnuJpjSPtA8Xtg6bfMrMI6ASERkbJc4ukv9X+9DZMZzFHdD07',
  '9zNfOTisvg9PIt0TsoIrvTiJxgoUf22rxADj7xkLOXZ/zBeEdryJWxxKd1x4vxIi0aR10C6ebLZiZ8fiJ6QlFWh25m7JHJyT0Da9Nj1xCmn83Q',
  'DKsdzY9FPIGTJUKeDNvHFUvhqWhQskkTxzRNRIcvROIUV/XBU8U9GKrvxz+XgiWmOpRw0o7l3L1EjF4YlTDKxt72i7I2MK0PwdG2DAbNJeEax/',
  'GUc2SbPX9wJNwExzYGBbB0wl4HgE+YWrKWhp74C5C/aQINBl8iDPgtX2ZN6pRbpDAt9pqDVthYVFn0kDZ2dtoARoWrhtGQkIDyPkAdiUQmoTo1',
  'baqg9R6mJ3aeD4f20+TjbKqOiyqnrdfTYJjbEj+uc2hWkKQWYyOfGCPwo4QK/Ig3Yd355IwaYK7UHII1e/WNdbe7O+g1+xX74dAcZ39pmnDAMs',
  'a8Pc298myXhii+2alEVTrhAb6rWVj6jK6EE1kCpgCkhJirjHPgUUVi7qr7dSTl0G3iSWkLDP+HSVWbteoQGucziiYAfAiUSJe4kcVGFCZjdE97',
  'yWwKQgK9+ls1pPTeSdYvcd9lszc4u2lc4mvQi0+JLeN07zr/SA5EhqZxqXkwPk8eVYoGd4RqmZCP6ym0gXia49Kvfqi22ATHNfjMkoaZmiiHLW',
  'MPC/pljzOH0ygKOEeTMN+MyjS+lL4WUzAeTk4TCgPrgjfM84Ludb+Qxz7yqvb4ULe9+DUdlKhhqniD3MRf1CmAVKy5AWiXMxEGKoWaPlLOr8xz',
  '0bg6ZjGc75C4XUOIwPWGXwh6XWeNxkQ/oWtVmPDzx3CcYEHGbIfBsbE2j1Zs3590dL9HT4P9uaNx2RytBMfUJOOqNzr13dyfitkYwjaLMobc78',
  '1d3KV2KYpJOU5/7vB5K1oIexaULM6Brfim2OlYpX+0skmpZSXBfk4niHaNwbJpioYPagqxxAJuQkol+0yfAoTX9lBY+eL3CC410XCC1FAXN50v',
  '+Jyy44tD47wAMOh4UwfzFTsL2q5XpkmPNKt5vb/FXf2am3zl4DVnRRifSAQlCes3dsBu5lEDbyToDXSygwZ6k1gFvtd0YVfEnw94w+8fDLUupY',
  'n3eI9MKW3BZqtoNbHr4qsOZ9BncMn6wmneBsDg/zKteY7zHg5ywGbY7dKXgnCsCapzbZtGrJWpwKmc/6NLinGztzzjbw4f28JAWaBeiGSCtCYP',
  'b6Ux0fUCv5c+CMezf8HagcdZojTSlxzc4f1ldPlU2GXCiRWfOxC3GoF6836gKSZsQJUM8N8fMFPkXZ3tHw7XPnuwV+aZxWD++mItM6IugAV1Mq',
  'PGoqmJpIQoI99ykVjgPKbWdqoLd6gGockMPlbc+YKjnyJ9/HjXQyXTH39FwHMR+cwIRXnSE4ZzeZMvW2wbFxJU6srvbgf0Jp15uVrXO3PM6TIk',
  'hcZlNizti7dQW5U6ApbpUuhxXQxRY8Gpsh2Hu/WJwUG85wcvzWXd/lZJcRigymCWKjuuhwWUx2eDTCCo51ZwM2MPfFaYvI+i0zalovuK+l64dY',
  'ajnwZiUhGhN2CF2hRhxcGdPKsLKW2vr8ybCCdCax29E/o/CqiL/RTcz5xOxO3Bk2zbUuy4V1rb5HdtRpKMYPQDnjHdT3F6CqY0HoWaL2CZeVOb',
  'R+5hJ6PryAt1ulBkvsrrxJNFfKTBCMITjizvbBzH45/O7b7DhMYVosEZEfsTBqqis7b8g1PKtxHmcegOu/GmUqZXxcVgHiqjK/VWB53SiTYkwZ',
  'x5qlYFVbu1eCaxpN1dnuZZI8Smew/6B0Rfp+OJ+mGHkI3o57z7s2v9c7K1dZ6drW6fUr76o7g+9ZHvDMnAOFxHNCgDeQUCdzQtFZDQS278DjUP',
  'KuGd0TJSSmB23p65gkOdl5nByOiiELMxPum/wSciCAopPBg7xdu9kXTBIz4ph5RC+t7ENRqP3fyn3xvIkC2SoZCU5NyuAJaTroc+Y8IkWOrU4C',
  'wZB3Ol6CCo7b5veVARtpjhjrKyQ27IuXzi/u7qTu359mW+Y5338jVlVwrhjVJbL9v9rRjX8W21tiZ4LXqCaZ1bm6QDaW/+1pQayZum0XI3wih1',
  'Q8c5jAAMaTY+73EC/PHdKHSW+nMWRGXZJdk3aE16BCfP/ub/Si0j6LKwE3SIswK/sycvscd9xWCshtlfOTi/HuRNlkIs2tqXtLCoqT624SVCm+',
  'VrpXScgOlOGtWKLUbv/uzKgR2S9LbV1LkzP4vDGRhbujrNI5rC1+77k+pJ8GCrvZ7GWp5Xp0rylfrRrCkY5GDmZc6wGWpFtNfZ332gAAAIXhNn',
  'QAAacR8C4AAPQ2eS4+MA2LAgAAAAABWVo=',
].join('');

/** Bytes full of CALL and JMP opcodes near each other, so that every branch of the x86 filter is taken. */
function sample(): Uint8Array {
  const out: number[] = [];
  let x = 12345n;
  while (out.length < 6000) {
    x = (x * 1103515245n + 12345n) & 0x7fffffffn;
    const at = (shift: number, mask: number): number => Number(x >> BigInt(shift)) & mask;
    const kind = at(16, 7);
    if (kind < 3) out.push(0xe8 + at(20, 1), at(8, 0xff), at(16, 0xf), 0, kind ? 0 : 255);
    else if (kind < 6) out.push(...Array.from({ length: kind - 2 }, () => 0xe8), 0);
    else for (let i = 0; i <= at(20, 3); i++) out.push(0x61, 0x62, 0x63);
  }
  return Uint8Array.from(out.slice(0, 6000));
}
const packed = (): Uint8Array => new Uint8Array(Buffer.from(PACKED, 'base64'));

test('xz: a block with the x86 filter is unpacked to the byte', () => {
  assert.deepEqual(unpackXz(packed()), sample());
});

test('xz: what follows the stream is ignored', () => {
  assert.equal(unpackXz(Uint8Array.of(...packed(), 1, 2, 3, 4)).length, 6000);
});

test('xz: data cut off anywhere before its index is refused', () => {
  const whole = packed();
  const index = whole.length - 12 - 8;
  for (let length = 0; length < index - 4; length += 7)
    assert.throws(() => unpackXz(whole.subarray(0, length)), RangeError, String(length));
});

test('xz: a changed byte is noticed by the checksum at the latest', () => {
  for (let at = 40; at < 1000; at += 97) {
    const broken = packed();
    broken[at]! ^= 0x10;
    assert.throws(() => unpackXz(broken), RangeError, String(at));
  }
});
