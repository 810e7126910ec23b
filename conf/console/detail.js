/*
 * One stream: the player and its measurements, what the operator may do, how
 * to publish, what the API says of it.
 *
 * The page is built once for a stream and changed in place with each answer of
 * the API, so that the picture never blinks.
 */

import * as api from "./api.js";
import {confirm, copyButton, h, icon, setAttr, setText, toast}
    from "./dom.js";
import {Deck} from "./deck.js";
import {withoutKey} from "./form.js";
import {Levels} from "./levels.js";
import {Meter} from "./meter.js";
import {CATCH_UP, Player} from "./player.js";
import {forget, keyCard, publishCard, reveal} from "./publish.js";
import {Recordings} from "./recordings.js";
import {badge, clock, dateText, setBadge, span, statusOf}
    from "./status.js";
import {streams} from "./streams.js";


const CATCH = "livestream.catch-up";


/* on, unless it was switched off: a slow start is made up for */
function stored() {
    try {
        return localStorage.getItem(CATCH) !== "no";
    } catch {
        return true;
    }
}


/* a setting's value, as nginx.conf would have it */
function word(value) {
    return value === true ? "on" : value === false ? "off"
           : Array.isArray(value) ? value.join(" ") : String(value);
}


export class Detail {
    constructor(stream) {
        this.id = stream.id;
        this.stream = stream;
        this.catchUp = stored();
        this.root = h("article.detail");
        this.#build();
        this.update(stream);
        this.timer = setInterval(() => this.#tick(), 1000);
    }

    destroy() {
        clearInterval(this.timer);
        this.#close();
        this.deck.destroy();
        this.meter.destroy();
        this.recordings.destroy();
        forget(this.id);
    }

    /* a newer answer of the API; it has no key */
    update(stream) {
        const was = this.stream.status;

        this.stream = stream;
        this.recordings.update(stream);
        setText(this.title, stream.title || "Untitled");
        setBadge(this.badge, stream);
        setText(this.description, stream.description || "");
        this.description.hidden = !stream.description;

        const known = statusOf(stream);

        this.startButton.hidden = !known.start;
        this.stopButton.hidden = !known.stop;
        this.#facts();
        this.#publish();
        this.#play(was);
        this.#overlay();
        this.#tick();
    }

    #build() {
        this.title = h("h1");
        this.badge = badge();
        this.onAir = h("span.clock");
        this.description = h("p.description");
        this.startButton = this.#button("start", "Start", () => this.#start());
        this.stopButton = this.#button("stop", "Stop", () => this.#stop());
        this.levels = new Levels();
        this.recordings = new Recordings(this.stream);
        this.facts = h("dl.facts");
        this.keyPlace = h("div.place");
        this.publishPlace = h("div.place");

        this.left = h("div.left", {}, this.#buildStage(), this.#buildMeter(),
                      this.recordings.root, this.levels.root);

        const remove = this.#button("trash", "Delete", () => this.#delete());

        remove.classList.add("dangerous");

        this.root.append(
            h("header.head", {},
              h("a.back", {href: "#/", "aria-label": "All streams"},
                icon("back")),
              h("div", {},
                h("div.name", {}, this.title, this.badge, this.onAir),
                this.description),
              h("div.tools", {}, this.startButton, this.stopButton,
                h("a.button", {href: "#/streams/"
                               + encodeURIComponent(this.id) + "/edit"},
                  icon("edit"), "Edit"),
                remove)),
            this.keyPlace,
            h("div.body", {},
              this.left,
              h("div.right", {}, this.publishPlace,
                h("section.card", {}, h("h2", {}, "Stream"), this.facts))));
    }

    #button(name, label, onclick) {
        return h("button.button", {type: "button", onclick}, icon(name),
                 label);
    }

    #buildStage() {
        this.video = h("video", {muted: true, autoplay: true,
                                 playsinline: true,
                                 "aria-label": "Live picture"});
        this.video.muted = true;
        this.cover = h("div.cover", {"aria-live": "polite"}, h("i"), h("p"));
        this.note = h("p.note", {"aria-live": "polite"});
        this.screen = h("div.screen", {}, this.video, this.cover, this.note);
        this.stage = h("div.stage", {}, this.screen);
        this.deck = new Deck(this.stage, this.video);
        this.stage.append(this.deck.root);

        return this.stage;
    }

    #buildMeter() {
        const hold = h("input", {
            type: "checkbox", role: "switch", id: "catch-up",
            onchange: () => this.#setCatchUp(hold.checked),
        });

        hold.checked = this.catchUp;
        this.meter = new Meter();
        this.meter.tools.append(
            this.levels.select,
            h("label.inline", {for: "catch-up", title: "Plays up to "
                + Math.round((CATCH_UP - 1) * 100)
                + " % faster while the player is behind its target"},
              hold, "Catch up"));

        return this.meter.root;
    }

    #setCatchUp(on) {
        this.catchUp = on;
        this.player?.setCatchUp(on);

        try {
            localStorage.setItem(CATCH, on ? "yes" : "no");
        } catch {
            /* a browser that keeps nothing */
        }
    }

    /* the player */

    #play(was) {
        const {status} = this.stream;
        const begins = status === "live" && was !== "live"
                       && was !== "interrupted";

        /* a new broadcast: what has ended does not play on by itself */
        if (this.player && begins) {
            this.#close();
        }

        if (!this.player && statusOf(this.stream).play && Player.supported) {
            this.#open();
        }

        if (this.player && !statusOf(this.stream).play
            && this.player.state !== "playing")
        {
            this.#close();
        }
    }

    #open() {
        this.player = new Player(this.video, api.playlistUrl(this.id),
                                 {catchUp: this.catchUp,
                                  chosen: this.levels.chosen});
        this.player.addEventListener("state", () => {
            this.#overlay();
            this.#facts();
        });
        this.levels.watch(this.player);
        this.meter.watch(this.player);
        this.deck.watch(this.player);
    }

    #close() {
        this.player?.destroy();
        this.player = null;
        this.levels.watch(null);
        this.meter.watch(null);
        this.deck.watch(null);
    }

    #overlay() {
        const state = this.player?.state;
        const {status} = this.stream;
        const shows = state === "playing" || state === "stalled";
        let text = statusOf(this.stream).text;

        if (!Player.supported) {
            text = "This browser can not play HLS.";

        } else if (state === "ended" && statusOf(this.stream).play) {
            text = "The broadcast has ended.";
        }

        this.left.classList.toggle("idle", !this.player);
        this.cover.hidden = shows;
        this.screen.dataset.busy = String(Boolean(state) && !shows
                                          && state !== "ended");
        setText(this.cover.lastChild, text);

        this.note.hidden = !shows || (status !== "interrupted"
                                      && state !== "stalled");
        setText(this.note, status === "interrupted"
            ? "The publisher is away" : "Buffering");
    }

    #tick() {
        const started = Date.parse(this.stream.started_at ?? "");
        const shown = statusOf(this.stream).air && started;

        setText(this.onAir, shown ? clock(Date.now() - started) : "");
        this.onAir.hidden = !shown;
    }

    /* what is known */

    #facts() {
        const s = this.stream;
        const url = api.playlistUrl(this.id);
        const settings = Object.entries(s.settings || {});
        const facts = [
            ["Id", s.id, "code"],
            ["Playlist", url, "copy"],
            ["Owner", s.user_id],
            ["Mode", s.low_latency ? "Low latency" : "Plain HLS"],
            ["Rewind", s.dvr_enabled ? span(s.dvr_window)
                                     : "the server's default"],
            ["Settings", settings.map(([k, v]) => k + " " + word(v))
                .join(", ") || "the server's defaults"],
            ["Created", dateText(s.created_at)],
            ["Last start", dateText(s.started_at)],
            ["Last end", dateText(s.ended_at)],
        ];
        const key = JSON.stringify(facts);

        if (this.factsKey === key) {
            return;
        }

        this.factsKey = key;
        this.facts.replaceChildren(...facts.flatMap(([name, value, how]) => [
            h("dt", {}, name),
            h("dd", {}, how ? h("code", {}, value) : value,
              how && copyButton(value, name)),
        ]));
    }

    #publish() {
        const url = this.stream.rtmp_ingest_url || "";

        if (this.publishKey !== url) {
            this.publishKey = url;
            this.publishPlace.replaceChildren(
                publishCard(this.stream, () => this.#newKey()));
        }

        if (!this.keyPlace.firstChild) {
            this.#showKey();
        }
    }

    #showKey() {
        const card = keyCard(this.id, () => this.keyPlace.replaceChildren());

        this.keyPlace.replaceChildren(...(card ? [card] : []));
    }

    /* what the operator may do */

    async #ask(call, then) {
        setAttr(this.root, "aria-busy", "true");

        try {
            then(await call(this.id));
            streams.refresh();

        } catch (e) {
            toast(e.message);

        } finally {
            setAttr(this.root, "aria-busy", null);
        }
    }

    #start() {
        this.#ask(api.start, (answer) => {
            if (answer.rtmp_ingest_url) {
                reveal(this.id, answer.rtmp_ingest_url);
                this.#showKey();
            }

            toast(answer.message || "Started");
        });
    }

    async #stop() {
        const yes = await confirm({
            title: "Stop “" + this.stream.title + "”?",
            text: "Its publisher is disconnected, viewers see the end, and "
                  + "the key is refused until you start it again.",
            yes: "Stop stream", danger: true,
        });

        if (yes) {
            this.#ask(api.stop, (answer) =>
                toast(answer.message || "Stopped"));
        }
    }

    async #newKey() {
        const yes = await confirm({
            title: "Make a new key?",
            text: "The old key stops working at once. Whoever publishes has "
                  + "to be given the new one.",
            yes: "Make new key",
        });

        if (yes) {
            this.#ask(api.newKey, (answer) => {
                reveal(this.id, answer.rtmp_ingest_url);
                streams.put({...withoutKey(answer), id: this.id});
                this.#showKey();
                this.keyPlace.scrollIntoView({block: "nearest"});
                toast("The key is new");
            });
        }
    }

    async #delete() {
        const yes = await confirm({
            title: "Delete “" + this.stream.title + "”?",
            text: "The stream, its key and its media are gone for good.",
            yes: "Delete stream", danger: true,
        });

        if (yes) {
            this.#ask(api.remove, () => {
                streams.drop(this.id);
                toast("Deleted");
                location.hash = "#/";
            });
        }
    }
}
