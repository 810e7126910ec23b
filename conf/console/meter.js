/*
 * What the player measures: latency large and as a line, the rest as figures.
 */

import {Chart} from "./chart.js";
import {h, setText} from "./dom.js";


const PERIOD = 500;

/* Wall clock and live edge tell nearly the same latency, unless a clock is
 * wrong or pictures come late. */
const SKEW = 15;

const dash = "–";
const sec = (n, digits) => n === null ? dash : n.toFixed(digits) + " s";

const FIGURES = [
    ["Behind live edge", (s) => sec(s.edge, 2)],
    ["Target", (s) => sec(s.target, 2)],
    ["Buffer", (s) => sec(s.buffer, 2)],
    ["Speed", (s) => s.buffer === null ? dash : s.rate.toFixed(2) + "×"],
    ["Picture", (s) => s.width ? s.width + "×" + s.height : dash],
    ["Frame rate", (s) => s.fps === null ? dash
                                         : Math.round(s.fps) + " fps"],
    ["Level", (s) => s.level ?? dash],
    ["Dropped frames", (s) => s.frames ? s.dropped + " of "
                                         + s.frames.toLocaleString("en")
                                       : dash],
    ["Stalls", (s) => String(s.stalls)],
    ["First frame", (s) => sec(s.firstFrame === null ? null
                                                     : s.firstFrame / 1000,
                               2)],
];


const NOTHING = {latency: null, edge: null, target: null, buffer: null,
                 rate: 1, width: 0, height: 0, frames: 0, dropped: 0,
                 level: null, stalls: 0, firstFrame: null};


export class Meter {
    constructor() {
        this.big = h("b");
        this.hint = h("p.hint");
        this.tools = h("div.metertools");
        this.figures = FIGURES.map(([label]) => h("dd", {"data-f": label}));

        const plot = h("div.plot");

        this.root = h("section.card.meter", {"aria-label": "Measurements"},
            h("header", {},
              h("div.now", {}, h("h2", {}, "Latency"),
                h("p", {}, this.big, h("span", {}, "s"))),
              this.tools),
            plot, this.hint,
            h("dl.figures", {}, FIGURES.map(([label], i) =>
                h("div", {}, h("dt", {}, label), this.figures[i]))));

        this.chart = new Chart(plot);
        this.timer = setInterval(() => this.#measure(), PERIOD);
        this.root.hidden = true;
        this.#show({...NOTHING, fps: null});
    }

    destroy() {
        clearInterval(this.timer);
        this.chart.destroy();
    }

    /* null: nothing plays; what was measured before stays */
    watch(player) {
        this.player = player;
        this.last = null;
        this.root.hidden &&= !player;
    }

    #measure() {
        if (this.root.hidden) {
            return;
        }

        const s = this.player ? this.player.stats() : {...NOTHING};

        s.fps = this.#fps(s);
        this.chart.add(s.latency ?? s.edge, s.target);
        this.#show(s);
    }

    /* over the last two seconds or so */
    #fps(s) {
        const now = performance.now();
        let last = this.last;

        if (!last || s.frames < last.frames) {
            last = this.last = {t: now, frames: s.frames, fps: null};
        }

        if (now - last.t > 2000) {
            const fps = (s.frames - last.frames) / (now - last.t) * 1000;

            this.last = {t: now, frames: s.frames, fps: fps || null};
        }

        return this.last.fps;
    }

    #show(s) {
        const latency = s.latency ?? s.edge;
        const skewed = s.latency !== null && s.edge !== null
                       && Math.abs(s.latency - s.edge) > SKEW;

        setText(this.big, latency === null ? "" : latency.toFixed(1));
        setText(this.hint, skewed
            ? "The server's clock and this computer's differ, or the publisher "
              + "is slower than real time: trust “behind live edge” instead."
            : "From the server's receipt of a picture to its display here, "
              + "by EXT-X-PROGRAM-DATE-TIME.");

        FIGURES.forEach(([, text], i) => setText(this.figures[i], text(s)));
    }
}
