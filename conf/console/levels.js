/*
 * The levels that a player has: a list to choose of, and a table of what they
 * are, in which the one that plays is marked.
 */

import {h, setAttr, setText} from "./dom.js";


const dash = "–";


function bits(n) {
    if (n === null) {
        return null;
    }

    return n < 1e6 ? Math.round(n / 1e3) + " kbit/s"
                   : (n / 1e6).toFixed(1) + " Mbit/s";
}


const COLUMNS = [
    ["Level", (l) => l.name],
    ["Picture", (l) => l.width ? l.width + "×" + l.height : dash],
    ["Rate", (l) => l.fps ? Number(l.fps.toFixed(2)) + " fps" : dash],
    ["Codecs", (l) => l.codecs || dash],
    ["Average", (l) => bits(l.average) || dash],
    ["Peak", (l) => bits(l.bitrate) || dash],
];


export class Levels {
    constructor() {
        this.auto = h("option", {value: ""});
        this.select = h("select", {
            "aria-label": "Quality",
            onchange: () => this.#choose(this.select.value || null),
        });
        this.rows = h("tbody");
        this.root = h("section.card.levels", {}, h("h2", {}, "Levels"),
            h("table", {},
              h("thead", {}, h("tr", {}, COLUMNS.map(([name]) =>
                  h("th", {scope: "col"}, name)))),
              this.rows));
        this.chosen = null;         /* kept from player to player */
        this.watch(null);
    }

    /* null: nothing plays */
    watch(player) {
        this.player = player;
        this.#build();

        player?.addEventListener("levels", () => this.#build());
        player?.addEventListener("level", () => this.#mark());
    }

    #choose(track) {
        this.chosen = track;
        this.player?.choose(track);
    }

    #build() {
        const levels = (this.player?.levels || []).reverse();

        this.root.hidden = !levels.length;
        this.select.hidden = levels.length < 2;

        this.select.replaceChildren(this.auto, ...levels.map((l) =>
            h("option", {value: l.track},
              [l.name, bits(l.bitrate)].filter(Boolean).join(" · "))));
        this.select.value = levels.some((l) => l.track === this.chosen)
                            ? this.chosen : "";

        this.rows.replaceChildren(...levels.map((l) => h("tr", {
            "data-track": l.track,
        }, COLUMNS.map(([name, text], i) => h(i ? "td" : "th",
            {"data-f": name, scope: i ? null : "row"}, text(l))))));

        this.#mark();
    }

    #mark() {
        const seen = this.player?.level;

        for (const row of this.rows.children) {
            setAttr(row, "aria-current",
                    row.dataset.track === seen?.track ? "true" : null);
        }

        setText(this.auto, seen && !this.select.value
                           ? "Auto (" + seen.name + ")" : "Auto");
    }
}
