/*
 * The clock in the picture: the sender's wall clock, drawn into the topmost
 * rows of each frame as black and white squares, so that whoever sees the
 * frame can tell how old it is.
 *
 *     | 32 bits of Date.now(), highest first | 8 bits of check |
 *       16 x 32 pixels a bit, 640 pixels in all
 *
 * Shared by the publisher (node) and by the player's page (browser).
 */

export const BITS = 40;
export const BLOCK = 16;
export const ROWS = 32;
export const WIDTH = BITS * BLOCK;

const DATA_BITS = 32;


function check(n) {
    return (n ^ n >>> 8 ^ n >>> 16 ^ n >>> 24 ^ 0xa5) & 0xff;
}


/* the value (0 or 1) of each bit for a time in ms */
export function encode(ms) {
    const n = ms % 2 ** DATA_BITS >>> 0;
    const sum = check(n);
    const bits = [];

    for (let i = DATA_BITS - 1; i >= 0; i--) {
        bits.push(n >>> i & 1);
    }

    for (let i = BITS - DATA_BITS - 1; i >= 0; i--) {
        bits.push(sum >>> i & 1);
    }

    return bits;
}


/* The age in ms at `now` of the frame with these bits, or null where they are
 * no clock. */
export function age(bits, now) {
    let n = 0;
    let sum = 0;

    bits.forEach((bit, i) => {
        if (i < DATA_BITS) {
            n = (n << 1 | bit) >>> 0;

        } else {
            sum = sum << 1 | bit;
        }
    });

    if (sum !== check(n)) {
        return null;
    }

    /* within 2^31 ms of now */
    return (now % 2 ** DATA_BITS - n) | 0;
}
