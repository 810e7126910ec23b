#!/usr/bin/env node
/*
 * Publishes a picture that carries the wall clock, with a tone.
 *
 *     node publish.mjs [--fps 30] [--gop 1] [--no-audio] RTMP_URL
 *
 * Frames (640x360) and samples are made here at their time, by one clock, and
 * piped to ffmpeg, which is told to hold nothing back: what is measured is the
 * server and the player.  Ends with ffmpeg, or on SIGTERM.
 */

import {spawn} from "node:child_process";
import {pathToFileURL} from "node:url";
import {parseArgs} from "node:util";

import {BLOCK, ROWS, WIDTH, encode} from "./clock.mjs";


const HEIGHT = 360;
const BLACK = 16;
const WHITE = 235;

const RATE = 48000;
const CHUNK = 480;                  /* samples, 10 ms */
const PITCH = 500;                  /* Hz, so that chunks join smoothly */


/* A frame in yuv420p.  All of it but the clock and the moving bar stays. */
class Picture {
    constructor() {
        this.frame = Buffer.alloc(WIDTH * HEIGHT * 3 / 2, 128);

        for (let y = ROWS; y < HEIGHT; y++) {
            this.#row(y, -1);
        }
    }

    #row(y, bar) {
        for (let x = 0; x < WIDTH; x++) {
            this.frame[y * WIDTH + x] = x >= bar && x < bar + 48 && bar >= 0
                ? 220 : 40 + (x + y) % 128;
        }
    }

    draw(n, ms) {
        encode(ms).forEach((bit, i) => {
            for (let y = 0; y < ROWS; y++) {
                const at = y * WIDTH + i * BLOCK;

                this.frame.fill(bit ? WHITE : BLACK, at, at + BLOCK);
            }
        });

        for (let y = 160; y < 224; y++) {
            this.#row(y, n * 4 % (WIDTH - 48));
        }

        return Buffer.from(this.frame);
    }
}


function command(url, {fps, gop, audio}) {
    const video = ["-f", "rawvideo", "-pixel_format", "yuv420p",
                   "-video_size", WIDTH + "x" + HEIGHT, "-framerate", fps,
                   "-probesize", 32, "-analyzeduration", 0,
                   "-fflags", "nobuffer", "-i", "pipe:0"];
    const tone = ["-f", "s16le", "-ar", RATE, "-ac", 1, "-probesize", 32,
                  "-analyzeduration", 0, "-fflags", "nobuffer",
                  "-i", "pipe:3"];
    const encoders = ["-c:v", "libx264", "-preset", "ultrafast",
                      "-tune", "zerolatency", "-pix_fmt", "yuv420p",
                      "-g", fps * gop, "-keyint_min", fps * gop,
                      "-sc_threshold", 0, "-b:v", "800k",
                      "-x264-params", "threads=1"];

    return ["-hide_banner", "-loglevel", "error", ...video,
            ...(audio ? tone : []), ...encoders,
            ...(audio ? ["-c:a", "aac", "-b:a", "64k"] : []),
            "-flush_packets", 1, "-f", "flv", url].map(String);
}


function toneChunk() {
    const chunk = Buffer.alloc(CHUNK * 2);

    for (let i = 0; i < CHUNK; i++) {
        chunk.writeInt16LE(Math.round(
            4000 * Math.sin(2 * Math.PI * PITCH * i / RATE)), i * 2);
    }

    return chunk;
}


/* Writes what make(n) gives, `rate` times a second.  ffmpeg counts, so nothing
 * is left out: what had to wait for it is made when it is taken. */
class Source {
    constructor(pipe, rate, make) {
        this.pipe = pipe;
        this.rate = rate;
        this.make = make;
        this.n = 0;
        this.blocked = false;
        pipe.on("drain", () => { this.blocked = false; });
        pipe.on("error", () => { this.blocked = true; });
    }

    due(seconds) {
        while (!this.blocked && this.n <= seconds * this.rate) {
            this.blocked = !this.pipe.write(this.make(this.n++));
        }
    }
}


/* Returns the ffmpeg process; ended by stop() or by itself. */
export function publish(url, options) {
    const {fps = 30, gop = 1, audio = true} = options || {};
    const ffmpeg = spawn("ffmpeg", command(url, {fps, gop, audio}),
                         {stdio: ["pipe", "ignore", "inherit", "pipe"]});
    const picture = new Picture();
    const chunk = toneChunk();
    const begun = performance.now();
    const sources = [
        new Source(ffmpeg.stdin, fps, (n) => picture.draw(n, Date.now())),
    ];

    if (audio) {
        sources.push(new Source(ffmpeg.stdio[3], RATE / CHUNK, () => chunk));
    }

    const timer = setInterval(() => {
        const seconds = (performance.now() - begun) / 1000;

        sources.forEach((source) => source.due(seconds));
    }, 2);

    ffmpeg.on("exit", () => clearInterval(timer));

    /* it says goodbye to the server, but waits for its inputs to end */
    ffmpeg.stop = () => {
        clearInterval(timer);
        ffmpeg.kill("SIGINT");
        sources.forEach((source) => source.pipe.destroy());
    };

    return ffmpeg;
}


if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const {values, positionals} = parseArgs({
        allowPositionals: true,
        options: {
            fps: {type: "string", default: "30"},
            gop: {type: "string", default: "1"},
            "no-audio": {type: "boolean", default: false},
        },
    });

    const ffmpeg = publish(positionals[0], {
        fps: Number(values.fps), gop: Number(values.gop),
        audio: !values["no-audio"],
    });

    ffmpeg.on("exit", (code) => process.exit(code ?? 1));
    process.on("SIGTERM", ffmpeg.stop);
    process.on("SIGINT", ffmpeg.stop);
}
