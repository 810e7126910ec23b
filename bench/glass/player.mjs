/*
 * Plays what the page's query names and keeps a record of all that a viewer
 * would notice.  The driver reads it:
 *
 *     player.report()     the record since the last mark(), JSON
 *     player.mark()       begins a new one
 */

import {BITS, BLOCK, ROWS, WIDTH, age} from "./clock.mjs";


/* the clock is read at a quarter of its size: 4 x 8 pixels a bit */
const SCALE = 4;

const video = document.querySelector("video");
const canvas = document.createElement("canvas");
const query = new URLSearchParams(location.search);
const hls = new Hls(JSON.parse(query.get("config") || "{}"));

canvas.width = WIDTH / SCALE;
canvas.height = ROWS / SCALE;

const draw = canvas.getContext("2d", {willReadFrequently: true});

let record;
let started = false;
let ended = false;
let firstFrame = null;
let lastFrame = null;


function mark() {
    record = {
        begun: performance.now(),
        from: video.currentTime,
        stalls: 0,              /* `waiting` but for a seek */
        errors: [],             /* of hls.js */
        jumps: [],              /* seeks: s */
        longest: 0,             /* ms without a new picture */
        frames: 0,
        ages: [],               /* glass to glass, ms */
        edges: [],              /* hls.latency, s */
        dates: [],              /* by EXT-X-PROGRAM-DATE-TIME, ms */
        buffers: [],            /* s */
        rates: [],
    };
    lastFrame = null;
}


/* the picture's clock, at each animation frame: what an eye would see now */
function look() {
    requestAnimationFrame(look);

    if (!started || ended || video.seeking || video.videoWidth !== WIDTH) {
        return;
    }

    draw.drawImage(video, 0, 0, WIDTH, ROWS,
                   0, 0, canvas.width, canvas.height);

    const {data} = draw.getImageData(0, canvas.height / 2, canvas.width, 1);
    const bits = [];

    for (let i = 0; i < BITS; i++) {
        const x = (i + 0.5) * BLOCK / SCALE;

        bits.push(data[Math.floor(x) * 4] > 128 ? 1 : 0);
    }

    const ms = age(bits, Date.now());

    if (ms !== null) {
        record.ages.push(ms);
    }
}


function frame(now) {
    video.requestVideoFrameCallback(frame);

    if (firstFrame === null) {
        firstFrame = now;
    }

    if (lastFrame !== null) {
        record.longest = Math.max(record.longest, now - lastFrame);
    }

    lastFrame = now;
    record.frames++;
}


function sample() {
    if (!started || ended) {
        return;
    }

    const ranges = video.buffered;
    const date = hls.playingDate?.getTime();

    record.edges.push(hls.latency);
    record.rates.push(video.playbackRate);
    record.buffers.push(ranges.length
        ? ranges.end(ranges.length - 1) - video.currentTime : 0);

    if (date) {
        record.dates.push(Date.now() - date);
    }
}


function summary(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const at = (q) => sorted[Math.min(sorted.length - 1,
                                      Math.floor(q * sorted.length))];

    return sorted.length ? {
        n: sorted.length, least: sorted[0], median: at(0.5), p95: at(0.95),
        most: sorted.at(-1),
    } : {n: 0};
}


function report() {
    const quality = video.getVideoPlaybackQuality();

    return {
        ...record,
        ages: summary(record.ages),
        edges: summary(record.edges),
        dates: summary(record.dates),
        buffers: summary(record.buffers),
        rates: summary(record.rates),
        seconds: (performance.now() - record.begun) / 1000,
        played: video.currentTime - record.from,
        silent: lastFrame === null ? null : performance.now() - lastFrame,
        started, ended, firstFrame,
        paused: video.paused,
        currentTime: video.currentTime,
        targetLatency: hls.targetLatency,
        dropped: quality.droppedVideoFrames,
        total: quality.totalVideoFrames,
        codecs: [hls.levels[0]?.videoCodec, hls.levels[0]?.audioCodec],
        size: video.videoWidth + "x" + video.videoHeight,
        lowLatency: Boolean(hls.latestLevelDetails?.partList?.length),
    };
}


mark();

hls.on(Hls.Events.ERROR, (event, data) => {
    record.errors.push({
        at: performance.now() - record.begun,
        type: data.type, details: data.details, fatal: data.fatal,
        reason: String(data.reason || data.error?.message || ""),
        url: data.url || data.frag?.url || "",
        code: data.response?.code ?? null,
    });
});

video.addEventListener("playing", () => { started = true; });
video.addEventListener("ended", () => { ended = true; });

video.addEventListener("waiting", () => {
    if (started && !video.seeking) {
        record.stalls++;
    }
});

video.addEventListener("seeking", () => {
    if (started) {
        record.jumps.push(video.currentTime);
    }
});

video.requestVideoFrameCallback(frame);
requestAnimationFrame(look);
setInterval(sample, 100);

window.player = {report, mark, video, hls};

hls.loadSource(query.get("src"));
hls.attachMedia(video);
hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
