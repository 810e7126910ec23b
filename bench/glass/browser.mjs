/*
 * The distribution's Chromium, as a viewer has it: decodes H.264 and AAC, and
 * plays without a click.  CHROMIUM names another one.
 */

import {chromium} from "playwright-core";


export function launch() {
    return chromium.launch({
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic",
               "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync",
               "--autoplay-policy=no-user-gesture-required"],
    });
}
