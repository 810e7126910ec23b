/*
 * The recordings of a stream, the newest first: a card that is not there as
 * long as there are none.  Rows are kept by id and changed in place.
 */

import * as api from "./api.js";
import {confirm, h, icon, setAttr, setChildren, setText, toast}
    from "./dom.js";
import {stamp} from "./deck.js";
import {badge, bytes, setRecordingBadge, statusOf} from "./status.js";


const PERIOD = 3000;                /* while something is going on */
const PERIOD_IDLE = 20000;
const PAGE = 10;
const PAGE_MOST = 100;              /* the API's */


export class Recordings {
    constructor(stream) {
        this.stream = stream;
        this.rows = new Map();          /* id -> {root, ...} */
        this.limit = PAGE;
        this.list = h("ul");
        this.count = h("span.count");
        this.more = h("button.button.small", {
            type: "button", hidden: true, onclick: () => this.#showMore(),
        }, "Show more");
        this.root = h("section.card.recordings", {hidden: true},
            h("h2", {}, "Recordings", this.count), this.list, this.more);
        this.#read();
    }

    destroy() {
        clearTimeout(this.timer);
        this.pending?.abort();
    }

    /* a newer answer of the API: a broadcast that begins or ends changes
     * what is recorded */
    update(stream) {
        const was = this.stream.status;

        this.stream = stream;

        if (stream.status !== was) {
            this.#read();
        }
    }

    #showMore() {
        this.limit = Math.min(this.limit * 2, PAGE_MOST);
        this.#read();
    }

    /* now, and from then on every so often */
    async #read() {
        this.pending?.abort();
        clearTimeout(this.timer);

        const pending = this.pending = new AbortController();
        let delay = PERIOD_IDLE;

        try {
            const {recordings} = await api.recordings(this.stream.id,
                                                      this.limit,
                                                      pending.signal);

            this.#draw(recordings);

            if (statusOf(this.stream).air || recordings.some(busy)) {
                delay = PERIOD;
            }

        } catch (e) {
            if (pending.signal.aborted) {
                return;
            }
        }

        this.timer = setTimeout(() => this.#read(), delay);
    }

    #draw(recordings) {
        const known = new Set(recordings.map((recording) => recording.id));

        for (const id of this.rows.keys()) {
            if (!known.has(id)) {
                this.rows.delete(id);
            }
        }

        const more = recordings.length === this.limit;

        this.root.hidden = !recordings.length;
        this.more.hidden = !more || this.limit === PAGE_MOST;
        setText(this.count, recordings.length + (more ? "+" : ""));
        setChildren(this.list, recordings.map((r) => this.#row(r)));
    }

    #row(recording) {
        let row = this.rows.get(recording.id);

        if (!row) {
            row = this.#makeRow(recording);
            this.rows.set(recording.id, row);
        }

        const poster = api.mediaUrl(recording.thumbnail_url);

        row.image.hidden = !poster;

        if (poster) {
            setAttr(row.image, "src", poster);
        }

        setText(row.title, startText(recording));
        setText(row.length, lengthText(recording));
        row.length.hidden = !row.length.textContent;
        setText(row.facts, factsText(recording));
        setRecordingBadge(row.badge, recording);
        row.badge.hidden = recording.status === "ready";
        row.remove.hidden = recording.status === "recording";

        return row.root;
    }

    #makeRow({id}) {
        const row = {
            image: h("img", {alt: "", loading: "lazy", decoding: "async"}),
            length: h("span.length"),
            title: h("span.title"),
            badge: badge(),
            facts: h("span.meta"),
        };

        row.remove = h("button.tool", {
            type: "button", "aria-label": "Delete the recording",
            title: "Delete", onclick: () => this.#remove(id),
        }, icon("trash"));

        row.root = h("li", {},
            h("a", {href: "#/streams/" + encodeURIComponent(this.stream.id)
                          + "/recordings/" + encodeURIComponent(id)},
              h("span.poster", {}, icon("film"), row.image, row.length),
              h("span.text", {}, row.title, row.badge, row.facts)),
            row.remove);

        return row;
    }

    async #remove(id) {
        if (await removeRecording(this.stream.id, id,
                                  this.rows.get(id)?.title.textContent))
        {
            this.#read();
        }
    }
}


/* asks; true when it is gone */
export async function removeRecording(id, rid, name) {
    const yes = await confirm({
        title: "Delete this recording?",
        text: "The recording of " + name + " is gone for good. MP4s that were "
              + "made of it stay.",
        yes: "Delete recording", danger: true,
    });

    if (!yes) {
        return false;
    }

    try {
        await api.removeRecording(id, rid);

    } catch (e) {
        toast(e.message);
        return false;
    }

    toast("The recording is deleted");
    return true;
}


/* is it changing by itself? */
export function busy(recording) {
    return ["recording", "processing"].includes(recording.status)
           || converting(recording) || Boolean(recording.storage?.pending);
}


export function converting({conversion}) {
    return ["pending", "running"].includes(conversion?.status);
}


/* "Sun, Nov 22, 2026, 19:05" */
export function startText(recording) {
    return new Date(recording.start_time).toLocaleString(undefined, {
        weekday: "short", year: "numeric", month: "short", day: "numeric",
        hour: "2-digit", minute: "2-digit",
    });
}


export function lengthText(recording) {
    return recording.status === "recording"
           ? stamp((Date.now() - Date.parse(recording.start_time)) / 1000)
           : recording.duration ? stamp(recording.duration) : "";
}


export function keptText({retention_until: until}) {
    return until ? "kept until " + new Date(until).toLocaleDateString(
                       undefined, {dateStyle: "medium"})
                 : "kept for ever";
}


export function uploadText({storage}) {
    return storage?.pending
           ? storage.pending.toLocaleString("en") + " files to upload"
             + (storage.error ? " (" + storage.error + ")" : "")
           : "";
}


function factsText(recording) {
    const {size, status, conversion} = recording;

    return [
        size ? bytes(size) : "",
        status === "ready" ? keptText(recording) : "",
        conversion?.status === "ready" ? "MP4" : "",
        converting(recording)
            ? "MP4 " + Math.floor(conversion.progress * 100) + " %" : "",
        uploadText(recording),
    ].filter(Boolean).join(" · ");
}
