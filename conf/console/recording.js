/*
 * One recording: its picture with a seek bar that shows what is where, what is
 * known of it, its MP4, how long it is kept.
 *
 * The page is built once and changed in place with each answer of the API.
 */

import * as api from "./api.js";
import {h, icon, setAttr, setText, toast} from "./dom.js";
import {Deck} from "./deck.js";
import {Levels} from "./levels.js";
import {Player} from "./player.js";
import {busy, converting, keptText, lengthText, removeRecording, startText,
        uploadText} from "./recordings.js";
import {badge, bytes, dateText, recordingStatus, setRecordingBadge}
    from "./status.js";
import * as storyboard from "./storyboard.js";


const PERIOD = 2000;                /* while something is going on */
const PERIOD_IDLE = 20000;
const DAY = 86400000;

/* of what is kept from now on */
const KEEP = [["1 week", 7], ["30 days", 30], ["1 year", 365]];


export class RecordingPage {
    constructor(stream, recording) {
        this.stream = stream;
        this.recording = recording;
        this.abort = new AbortController();
        this.root = h("article.detail");
        this.#build();
        this.#update(recording);
        this.#again();
    }

    destroy() {
        clearTimeout(this.timer);
        this.abort.abort();
        this.player?.destroy();
        this.deck.destroy();
    }

    get #name() {
        return startText(this.recording);
    }

    get #ids() {
        return [this.stream.id, this.recording.id];
    }

    #build() {
        const back = "#/streams/" + encodeURIComponent(this.stream.id);

        this.badge = badge();
        this.length = h("span.clock");
        this.facts = h("dl.facts");
        this.levels = new Levels();
        this.remove = h("button.button.dangerous", {
            type: "button", onclick: () => this.#remove(),
        }, icon("trash"), "Delete");

        this.root.append(
            h("header.head", {},
              h("a.back.always", {href: back,
                                  "aria-label": "Back to the stream"},
                icon("back")),
              h("div", {},
                h("div.name", {}, h("h1", {}, this.stream.title || "Untitled"),
                  this.badge, this.length),
                h("p.description", {}, "Recording of " + this.#name)),
              h("div.tools", {}, this.remove)),
            h("div.body", {},
              h("div.left", {}, this.#buildStage(), this.levels.root),
              h("div.right", {}, this.#buildConversion(), this.#buildKept(),
                h("section.card", {}, h("h2", {}, "Recording"),
                  this.facts))));
    }

    #buildStage() {
        this.video = h("video", {muted: true, autoplay: true,
                                 playsinline: true,
                                 "aria-label": "Recorded picture"});
        this.video.muted = true;
        this.cover = h("div.cover", {"aria-live": "polite"}, h("i"), h("p"));
        this.screen = h("div.screen", {}, this.video, this.cover);
        this.stage = h("div.stage", {}, this.screen);
        this.deck = new Deck(this.stage, this.video);
        this.deck.full.before(this.levels.select);
        this.stage.append(this.deck.root);

        return this.stage;
    }

    #buildConversion() {
        this.progress = h("progress", {max: "1", "aria-label": "Progress"});
        this.percent = h("span");
        this.running = h("p.running", {}, this.progress, this.percent);
        this.download = h("a.button", {download: true}, icon("download"),
                          h("span"));
        this.fault = h("p.fault", {role: "alert"});
        this.rungs = h("select", {"aria-label": "Level of the MP4"},
                       h("option", {value: ""}, "Best level"));
        this.convert = h("button.button", {
            type: "button", onclick: () => this.#convert(),
        }, icon("film"), "Make an MP4");
        this.asks = h("div.asks", {}, this.rungs, this.convert);

        return h("section.card.conversion", {}, h("h2", {}, "MP4"),
                 this.running, this.download, this.fault, this.asks);
    }

    #buildKept() {
        this.kept = h("p");
        this.keep = h("select", {
            "aria-label": "Keep it", onchange: () => this.#keep(),
        }, h("option", {value: ""}, "Keep it …"),
           KEEP.map(([text, days]) => h("option", {value: days},
                                        text + " from now")),
           h("option", {value: "ever"}, "For ever"));

        this.keeping = h("section.card.kept", {}, h("h2", {}, "Kept"),
                         this.kept, this.keep);

        return this.keeping;
    }

    /* a newer answer of the API */
    #update(recording) {
        this.recording = recording;
        setRecordingBadge(this.badge, recording);
        this.badge.hidden = recording.status === "ready";
        setText(this.length, lengthText(recording));
        this.remove.hidden = recording.status === "recording";
        setText(this.kept, capital(keptText(recording)));
        this.keeping.hidden = !["ready", "failed"].includes(recording.status);
        this.#play();
        this.#overlay();
        this.#showConversion();
        this.#showFacts();
    }

    async #read() {
        try {
            this.#update(await api.getRecording(...this.#ids,
                                                this.abort.signal));

        } catch (e) {
            if (e.status === 404) {
                this.#leave();
            }
        }

        this.#again();
    }

    #again() {
        clearTimeout(this.timer);

        if (!this.abort.signal.aborted) {
            this.timer = setTimeout(() => this.#read(),
                                    busy(this.recording) ? PERIOD
                                                         : PERIOD_IDLE);
        }
    }

    #leave() {
        this.abort.abort();
        location.hash = "#/streams/" + encodeURIComponent(this.stream.id);
    }

    /* the picture */

    #play() {
        const url = api.mediaUrl(this.recording.manifest_url);

        if (this.player || this.recording.status !== "ready" || !url
            || !Player.supported)
        {
            return;
        }

        this.player = new Player(this.video, url, {catchUp: false,
                                                   chosen: null});
        this.player.addEventListener("state", () => this.#overlay());
        this.player.addEventListener("levels", () => this.#showRungs());
        this.levels.watch(this.player);
        this.deck.watch(this.player);
        this.#loadStoryboard();
    }

    async #loadStoryboard() {
        const url = api.mediaUrl(this.recording.storyboard_url);

        if (!url) {
            return;
        }

        try {
            this.deck.storyboard = await storyboard.load(url,
                                                         this.abort.signal);
        } catch {
            /* the bar does without */
        }
    }

    #overlay() {
        const state = this.player?.state;
        const shows = ["playing", "stalled", "ended"].includes(state);

        this.cover.hidden = shows;
        this.screen.dataset.busy = String(
            this.recording.status === "processing"
            || Boolean(state) && !shows);
        setText(this.cover.lastChild, Player.supported
            ? recordingStatus(this.recording).text
            : "This browser can not play HLS.");
    }

    /* the MP4 */

    #showRungs() {
        const chosen = this.rungs.value;

        this.rungs.replaceChildren(
            h("option", {value: ""}, "Best level"),
            ...this.player.levels.filter((level) => level.height)
                .sort((a, b) => b.height - a.height)
                .map(({track, name}) => h("option", {value: track}, name)));
        this.rungs.value = chosen;
    }

    #showConversion() {
        const {conversion, status} = this.recording;
        const runs = converting(this.recording);
        const url = api.mediaUrl(conversion?.video_url);

        this.running.hidden = !runs;
        this.download.hidden = conversion?.status !== "ready" || !url;
        this.fault.hidden = conversion?.status !== "failed";
        this.asks.hidden = runs || status !== "ready";

        if (runs) {
            this.progress.value = conversion.progress;
            setText(this.percent, conversion.status === "pending"
                ? "Waiting" : Math.floor(conversion.progress * 100) + " %");
        }

        if (!this.download.hidden) {
            setAttr(this.download, "href", url);
            setText(this.download.lastChild, conversion.resolution
                ? "Download " + conversion.resolution : "Download");
        }

        setText(this.fault, conversion?.error || "The MP4 could not be made");
    }

    async #convert() {
        const resolution = this.rungs.value;

        await this.#ask(() => api.convert(...this.#ids,
                                          resolution ? {resolution} : {}));
    }

    async #keep() {
        const choice = this.keep.value;
        const until = choice === "ever" ? null
                      : new Date(Date.now() + choice * DAY).toISOString();

        this.keep.value = "";

        if (choice) {
            await this.#ask(() => api.keepRecording(...this.#ids, until));
        }
    }

    async #ask(call) {
        setAttr(this.root, "aria-busy", "true");

        try {
            this.#update(await call());
            this.#again();

        } catch (e) {
            toast(e.message);

        } finally {
            setAttr(this.root, "aria-busy", null);
        }
    }

    async #remove() {
        if (await removeRecording(...this.#ids, this.#name)) {
            this.#leave();
        }
    }

    #showFacts() {
        const r = this.recording;
        const facts = [
            ["Began", dateText(r.start_time)],
            ["Ended", dateText(r.end_time)],
            ["Size", r.size ? bytes(r.size) : "–"],
            ["Upload", r.storage ? uploadText(r) || "done" : ""],
            ["Files", r.recording_url ?? ""],
            ["Id", r.id],
        ].filter(([, value]) => value);
        const key = JSON.stringify(facts);

        if (this.factsKey !== key) {
            this.factsKey = key;
            this.facts.replaceChildren(...facts.flatMap(([name, value]) => [
                h("dt", {}, name), h("dd", {}, value)]));
        }
    }
}


function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}
