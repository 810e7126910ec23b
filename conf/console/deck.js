/*
 * What a player is worked with: play, sound, the seek bar, the way back to
 * live.  The bar is the player's range: a recording, or the window of what is
 * live, which moves under it.
 *
 *     --------------------O--------------------------------------------
 *     [>] [))]  12:31 / 1:02:33                            [full screen]
 *     [>] [))]  -35:10  (Back to live)                     [full screen]
 */

import {h, icon, setAttr, setText} from "./dom.js";


const PERIOD = 250;
const STEP = 10;                    /* s, an arrow key's */


/* "12:31", "26:03:11" */
export function stamp(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    const two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(s / 3600);
    const minutes = Math.floor(s / 60) % 60;

    return (hours ? hours + ":" + two(minutes) : minutes) + ":" + two(s % 60);
}


export class Deck {
    /* the stage is what goes full screen: picture and deck */
    constructor(stage, video) {
        this.stage = stage;
        this.video = video;
        this.player = null;
        this.storyboard = null;
        this.dragged = null;        /* where to, while the pointer is down */
        this.#build();
        this.abort = new AbortController();
        this.timer = setInterval(() => this.#draw(), PERIOD);

        for (const type of ["play", "pause", "volumechange", "seeking",
                            "timeupdate"]) {
            video.addEventListener(type, () => this.#draw(),
                                   {signal: this.abort.signal});
        }

        video.addEventListener("click", () => this.#toggle(),
                               {signal: this.abort.signal});
        this.#draw();
    }

    destroy() {
        clearInterval(this.timer);
        this.abort.abort();
    }

    /* null: nothing plays, and there is nothing to work with */
    watch(player) {
        this.player = player;
        this.root.hidden = !player;
        this.#draw();
    }

    #build() {
        const button = (name, onclick, ...content) =>
            h("button." + name, {type: "button", onclick}, ...content);

        this.play = button("tool", () => this.#toggle(), icon("start"),
                           icon("pause"));
        this.sound = button("tool", () => this.#mute(), icon("sound"),
                            icon("muted"));
        this.full = button("tool", () => this.#full(), icon("full"));
        this.live = button("golive", () => this.player?.seekLive(),
                           h("i", {"aria-hidden": "true"}), h("span"));
        this.time = h("span.at");

        this.done = h("div.done");
        this.loaded = h("div.loaded");
        this.knob = h("div.knob");
        this.image = h("img", {alt: ""});
        this.picture = h("div.picture", {}, this.image);
        this.label = h("span");
        this.peek = h("div.peek", {"aria-hidden": "true", hidden: true},
                      this.picture, this.label);
        this.bar = h("div.bar", {role: "slider", tabindex: "0",
                                 "aria-label": "Position"},
                     h("div.rail", {}, this.loaded, this.done),
                     this.knob, this.peek);
        this.tools = h("span.space");
        this.root = h("div.deck", {}, this.bar, this.play, this.sound,
                      this.time, this.live, this.tools, this.full);

        this.root.hidden = true;
        setAttr(this.full, "aria-label", "Full screen");
        this.#listen();
    }

    #listen() {
        const on = (type, f) => this.bar.addEventListener(type, f);

        on("pointerdown", (e) => {
            if (e.button === 0 && this.player?.range) {
                this.bar.setPointerCapture(e.pointerId);
                this.dragged = this.#at(e);
                this.#draw();
                this.#show(e);
            }
        });

        on("pointermove", (e) => {
            if (this.dragged !== null) {
                this.dragged = this.#at(e);
                this.#draw();
            }

            this.#show(e);
        });

        on("pointerup", () => {
            if (this.dragged !== null) {
                this.player?.seek(this.dragged);
            }

            this.#release();
        });

        on("pointercancel", () => this.#release());
        on("pointerleave", () => this.dragged === null && this.#hide());
        on("keydown", (e) => this.#key(e));
    }

    #release() {
        this.dragged = null;
        this.#hide();
        this.#draw();
    }

    /* the second that the pointer is at */
    #at(e) {
        const {left, width} = this.bar.getBoundingClientRect();
        const {start, end} = this.player.range;
        const part = Math.min(Math.max((e.clientX - left) / width, 0), 1);

        return start + part * (end - start);
    }

    #key(e) {
        const range = this.player?.range;
        const now = this.video.currentTime;
        const to = range && {
            ArrowLeft: now - STEP, ArrowDown: now - STEP,
            ArrowRight: now + STEP, ArrowUp: now + STEP,
            PageDown: now - 6 * STEP, PageUp: now + 6 * STEP,
            Home: range.start, End: range.end,
        }[e.key];

        if (to !== undefined && to !== null) {
            e.preventDefault();
            this.player.seek(to);

        } else if (e.key === " ") {
            e.preventDefault();
            this.#toggle();
        }
    }

    #toggle() {
        if (this.video.paused) {
            this.video.play().catch(() => {});

        } else {
            this.video.pause();
        }
    }

    #mute() {
        this.video.muted = !this.video.muted;
    }

    #full() {
        if (document.fullscreenElement) {
            document.exitFullscreen();

        } else {
            this.stage.requestFullscreen?.().catch(() => {});
        }
    }

    /* what is known of the second under the pointer */

    #show(e) {
        const range = this.player?.range;

        if (!range) {
            return;
        }

        const at = this.#at(e);
        const cue = this.storyboard?.at(at - range.start);
        const {left, width} = this.bar.getBoundingClientRect();

        this.picture.hidden = !cue;

        if (cue) {
            setAttr(this.image, "src", cue.url);
            this.image.style.transform =
                "translate(" + -cue.x + "px, " + -cue.y + "px)";
            this.picture.style.width = cue.width + "px";
            this.picture.style.height = cue.height + "px";
        }

        setText(this.label, this.#words(at, range));
        this.peek.hidden = false;

        /* within the bar, as far as it is wide enough */
        const half = this.peek.offsetWidth / 2;
        const x = Math.min(Math.max(e.clientX - left, half), width - half);

        this.peek.style.left = x + "px";
    }

    #hide() {
        this.peek.hidden = true;
    }

    #words(at, range) {
        if (!range.live) {
            return stamp(at - range.start);
        }

        const date = this.player.dateAt(at);

        return "−" + stamp(range.end - at)
               + (date ? " · " + date.toLocaleTimeString() : "");
    }

    #draw() {
        const range = this.player?.range ?? null;
        const at = this.dragged ?? this.video.currentTime;

        this.root.classList.toggle("off", !range);
        setAttr(this.play, "aria-label",
                this.video.paused ? "Play" : "Pause");
        setAttr(this.sound, "aria-label",
                this.video.muted ? "Sound on" : "Sound off");
        this.play.classList.toggle("on", !this.video.paused);
        this.sound.classList.toggle("on", this.video.muted);
        this.live.hidden = !range?.live;

        if (!range) {
            setText(this.time, "");
            return;
        }

        const live = range.live && this.dragged === null
                     && this.player.behind === null;

        this.#place(live ? range.end : at, range);
        this.#tell(at, range);
    }

    #place(at, {start, end}) {
        const length = Math.max(end - start, 0.001);
        const part = (t) => Math.min(Math.max((t - start) / length, 0), 1);
        const {buffered} = this.video;
        let to = start;

        for (let i = 0; i < buffered.length; i++) {
            if (buffered.start(i) <= at + 0.5) {
                to = Math.max(to, buffered.end(i));
            }
        }

        this.done.style.width = part(at) * 100 + "%";
        this.knob.style.left = part(at) * 100 + "%";
        this.loaded.style.width = part(to) * 100 + "%";
    }

    #tell(at, range) {
        const behind = range.live ? this.player.behind : null;
        const text = !range.live
            ? stamp(at - range.start) + " / " + stamp(range.end - range.start)
            : behind !== null ? "−" + stamp(behind) : "";

        setText(this.time, text);
        setText(this.live.lastChild, behind !== null ? "Back to live"
                                                     : "Live");
        this.live.classList.toggle("on", range.live && behind === null);
        setAttr(this.bar, "aria-valuemin", "0");
        setAttr(this.bar, "aria-valuemax",
                String(Math.floor(range.end - range.start)));
        setAttr(this.bar, "aria-valuenow",
                String(Math.floor(at - range.start)));
        setAttr(this.bar, "aria-valuetext", text || "Live");
    }
}
