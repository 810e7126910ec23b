#!/usr/bin/env node
/*
 * Glass to glass: how old is a picture when it is seen?
 *
 *     node bench/glass.mjs [--seconds 60] [--gop 1] [--json FILE]
 *                          [--server http://127.0.0.1:8080]
 *     node bench/glass.mjs --rtmp RTMP_URL --playlist URL ...
 *
 * A stream is made through the API of the server, ffmpeg publishes a picture
 * that carries the wall clock (glass/publish.mjs), Chromium plays it on a page
 * of another origin, and a canvas reads the clock back at each animation frame
 * (glass/player.mjs).  With --rtmp and --playlist any other server is measured
 * the same way.  All clocks are this machine's.
 *
 * The picture is small, 640x360 at 30 frames a second, so that two cores hold
 * encoder, server and browser: it is not their speed that is measured.
 */

import fs from "node:fs";
import {setTimeout as sleep} from "node:timers/promises";
import {parseArgs} from "node:util";

import {launch} from "./glass/browser.mjs";
import {publish} from "./glass/publish.mjs";
import {serve} from "./glass/site.mjs";


const WARM = 5;                     /* s of playback that are not counted */
const OPENINGS = 5;

const SETUPS = [
    {name: "hls.js as it comes", config: {}},
    {name: "catching up, 1.05", config: {maxLiveSyncPlaybackRate: 1.05}},
];


const {values: options} = parseArgs({
    options: {
        seconds: {type: "string", default: "60"},
        gop: {type: "string", default: "1"},
        json: {type: "string"},
        server: {type: "string", default: "http://127.0.0.1:8080"},
        rtmp: {type: "string"},
        playlist: {type: "string"},
    },
});


async function api(method, what, body) {
    const response = await fetch(options.server + "/api/v1/livestreams" + what,
        {method, body: body && JSON.stringify(body),
         headers: body && {"Content-Type": "application/json"}});

    if (!response.ok) {
        throw new Error(method + " " + what + ": " + response.status + " "
                        + await response.text());
    }

    return response.status === 204 ? null : response.json();
}


/* {rtmp, playlist, remove()} */
async function source() {
    if (options.rtmp) {
        return {rtmp: options.rtmp, playlist: options.playlist,
                remove: async () => {}};
    }

    const stream = await api("POST", "", {title: "Glass to glass",
                                          user_id: "bench",
                                          low_latency: true});

    return {
        rtmp: stream.rtmp_ingest_url,
        playlist: options.server + "/streams/" + stream.id + "/master.m3u8",
        remove: () => api("DELETE", "/" + stream.id),
    };
}


async function playable(playlist, ffmpeg) {
    const end = Date.now() + 30000;

    while (Date.now() < end && ffmpeg.exitCode === null) {
        const response = await fetch(playlist).catch(() => null);

        if (response?.ok && (await response.text()).includes("#EXTM3U")) {
            return;
        }

        await sleep(100);
    }

    throw new Error("nothing to play at " + playlist);
}


/* Opens the page as a new viewer would, with nothing cached. */
async function open(browser, site, playlist, config) {
    const context = await browser.newContext();
    const page = await context.newPage();

    await page.goto(site.url(playlist, config));
    await page.waitForFunction(() => player.report().started
                                     && player.report().firstFrame !== null,
                               null, {timeout: 30000});

    return {page, close: () => context.close()};
}


async function openings(browser, site, playlist, config) {
    const times = [];

    for (let i = 0; i < OPENINGS; i++) {
        const {page, close} = await open(browser, site, playlist, config);
        const report = await page.evaluate(() => player.report());

        times.push(report.firstFrame / 1000);
        await close();
        await sleep(300 + 200 * i);     /* at another place in the GOP */
    }

    return times.sort((a, b) => a - b);
}


async function measure(browser, site, playlist, {name, config}) {
    const times = await openings(browser, site, playlist, config);
    const {page, close} = await open(browser, site, playlist, config);

    await sleep(WARM * 1000);
    await page.evaluate(() => player.mark());
    await sleep(options.seconds * 1000);

    const report = await page.evaluate(() => player.report());

    await close();

    return {
        name,
        median: report.ages.median / 1000,
        p95: report.ages.p95 / 1000,
        least: report.ages.least / 1000,
        most: report.ages.most / 1000,
        readings: report.ages.n,
        firstFrame: times[Math.floor(times.length / 2)],
        firstFrames: times,
        stalls: Math.max(report.stalls, report.errors.filter(
            (e) => e.details === "bufferStalledError").length),
        longestFreeze: report.longest / 1000,
        seconds: report.seconds,
        target: report.targetLatency,
        dropped: report.dropped,
        errors: report.errors,
    };
}


function line(r) {
    const s = (n) => n.toFixed(2) + " s";

    return "glass to glass, " + r.name.padEnd(20)
           + "  median " + s(r.median) + "  p95 " + s(r.p95)
           + "  first frame " + s(r.firstFrame)
           + "  stalls " + r.stalls + " in " + r.seconds.toFixed(0) + " s";
}


async function main() {
    const site = await serve();
    const {rtmp, playlist, remove} = await source();
    const ffmpeg = publish(rtmp, {gop: Number(options.gop)});
    const browser = await launch();
    const results = [];

    try {
        await playable(playlist, ffmpeg);
        await sleep(3000);

        for (const setup of SETUPS) {
            const result = await measure(browser, site, playlist, setup);

            results.push(result);
            console.log(line(result));
        }

        if (options.json) {
            fs.writeFileSync(options.json, JSON.stringify(
                {picture: "640x360, 30 fps, GOP " + options.gop + " s",
                 results}, null, 2) + "\n");
        }

    } finally {
        ffmpeg.stop();
        await browser.close();
        await remove();
        site.close();
    }
}


await main();
