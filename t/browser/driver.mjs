/*
 * Holds a Chromium for a test: see t/lib/Livestream/Test/Browser.pm.
 *
 *     node driver.mjs SOCKET
 *
 * Listens on a unix socket for one client.  A line is a request,
 * ["name", argument, ...]; the answer is a line, {"ok": value} or
 * {"error": text}.  Ends with its client.
 */

import net from "node:net";
import readline from "node:readline";
import {setTimeout as sleep} from "node:timers/promises";

import {launch} from "../../bench/glass/browser.mjs";
import {serve} from "../../bench/glass/site.mjs";


const site = await serve();
const browser = await launch();
let messages = [];
let page;
let session;


async function openPage(url, options) {
    await page?.context().close();
    messages = [];

    const context = await browser.newContext(options || {});

    page = await context.newPage();
    session = await context.newCDPSession(page);
    page.on("pageerror", (e) => messages.push("uncaught: " + e.message));
    page.on("console", (m) => {
        if (m.type() === "error") {
            messages.push(m.text() + " " + m.location().url);
        }
    });

    await page.goto(url);
}


const commands = {
    open: openPage,

    /* the page with a player and nothing else, of another origin */
    play: (src, config) => openPage(site.url(src, config)),

    eval: (js) => page.evaluate(js),

    /* Until the expression is true, looked at from here: a page's security
     * policy may forbid a string to be evaluated by the page itself. */
    wait: async (js, seconds) => {
        const end = Date.now() + seconds * 1000;

        while (!await page.evaluate(js)) {
            if (Date.now() > end) {
                return false;
            }

            await sleep(100);
        }

        return true;
    },

    /* bytes a second that the page's network gives; 0: as many as there are */
    throttle: async (rate) => {
        await session.send("Network.enable");
        await session.send("Network.emulateNetworkConditions", {
            offline: false, latency: rate ? 20 : 0,
            downloadThroughput: rate || -1, uploadThroughput: -1,
        });
    },

    click: (what) => page.click(what, {timeout: 5000}),
    /* at a part of its width; then perhaps "click" */
    hover: async (what, part, then) => {
        const box = await page.locator(what).boundingBox();
        const at = [box.x + box.width * part, box.y + box.height / 2];

        await page.mouse.move(...at);

        if (then === "click") {
            await page.mouse.down();
            await page.mouse.up();
        }

        return true;
    },

    fill: (what, text) => page.fill(what, text, {timeout: 5000}),
    choose: (what, option) => page.selectOption(what, option,
                                                {timeout: 5000}),
    press: (key) => page.keyboard.press(key),
    screenshot: (path) => page.screenshot({path}).then(() => true),
    messages: () => messages,
};


async function answer(line) {
    try {
        const [name, ...args] = JSON.parse(line);

        return {ok: await commands[name](...args) ?? null};

    } catch (e) {
        return {error: String(e.message || e)};
    }
}


const server = net.createServer(async (client) => {
    server.close();

    for await (const line of readline.createInterface({input: client})) {
        client.write(JSON.stringify(await answer(line)) + "\n");
    }

    await browser.close();
    process.exit(0);
});

server.listen(process.argv[2]);
