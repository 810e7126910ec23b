/*
 * The thumbnail of a stream that is on air, in a box whose size does not
 * change.  It is asked for only while it can be seen, and where there is none,
 * less and less often.
 */

import {thumbnailUrl} from "./api.js";
import {h} from "./dom.js";


const PERIOD = 10000;
const RETRY = 2000;
const RETRY_MOST = 60000;

const boxes = new Map();            /* element -> Thumbnail */
const seen = new Set();             /* those that are in view */


export class Thumbnail {
    constructor(id) {
        this.id = id;
        this.due = 0;
        this.failures = 0;
        this.asked = false;
        this.image = h("img", {
            alt: "", width: 64, height: 36, loading: "lazy", decoding: "async",
            onload: () => this.#answer(true),
            onerror: () => this.#answer(false),
        });
        this.root = h("span.thumb", {}, this.image);
        boxes.set(this.root, this);
        observer.observe(this.root);
    }

    destroy() {
        observer.unobserve(this.root);
        boxes.delete(this.root);
        seen.delete(this);
    }

    /* what is shown stays until the newer one is there */
    refresh() {
        if (this.asked || Date.now() < this.due) {
            return;
        }

        this.asked = true;
        this.image.src = thumbnailUrl(this.id) + "?t="
                         + Math.floor(Date.now() / 1000);
    }

    #answer(good) {
        const delay = good ? PERIOD
                           : Math.min(RETRY * 2 ** this.failures, RETRY_MOST);

        this.asked = false;
        this.failures = good ? 0 : this.failures + 1;
        this.due = Date.now() + delay;
        this.root.classList.toggle("there", good);
    }
}


const observer = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
        const box = boxes.get(target);

        if (box && isIntersecting) {
            seen.add(box);
            box.refresh();

        } else {
            seen.delete(box);
        }
    }
});


setInterval(() => document.hidden || seen.forEach((box) => box.refresh()),
            1000);
