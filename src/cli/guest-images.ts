/** Where the built-in guests are: beside the bundle, or in the source tree. */
import { fileURLToPath } from 'node:url';

const FOLDER = import.meta.url.includes('/src/cli/') ? '../../guests/images/' : './guests/';

/** Path of a built-in guest's image. */
export const guestImage = (name: string): string => fileURLToPath(new URL(`${FOLDER}${name}.elf`, import.meta.url));
