/*
 * The streams as the API last told them, and the polling.  Events: "change"
 * (the list), "problem" (problem is null when all is well again).
 */

import * as api from "./api.js";


const PERIOD = 2500;
const PERIOD_MOST = 20000;
const PAGE = 100;                   /* the API's most */


class Streams extends EventTarget {
    constructor() {
        super();
        this.all = new Map();       /* id -> stream, in the API's order */
        this.loaded = false;
        this.problem = null;
        this.retryAt = 0;
        this.failures = 0;
        this.pages = 1;
        this.more = false;

        document.addEventListener("visibilitychange", () => {
            if (!document.hidden) {
                this.refresh();
            }
        });
    }

    get(id) {
        return this.all.get(id);
    }

    /* a newer answer of the API about one stream */
    put(stream) {
        this.all.set(stream.id, {...this.all.get(stream.id), ...stream});
        this.dispatchEvent(new Event("change"));
    }

    drop(id) {
        this.all.delete(id);
        this.dispatchEvent(new Event("change"));
    }

    showMore() {
        this.pages++;
        this.refresh();
    }

    /* Now, and from then on every PERIOD; what was under way is given up. */
    async refresh() {
        this.pending?.abort();

        const pending = this.pending = new AbortController();

        clearTimeout(this.timer);

        try {
            await this.#read(pending.signal);
            this.#well();

        } catch (e) {
            if (pending.signal.aborted) {
                return;
            }

            this.#failed(e);
        }

        if (!document.hidden) {
            this.timer = setTimeout(() => this.refresh(), this.#delay());
        }
    }

    async #read(signal) {
        const all = new Map();

        for (let page = 0; page < this.pages; page++) {
            const {streams} = await api.list(PAGE, page * PAGE, signal);

            for (const stream of streams) {
                all.set(stream.id, stream);
            }

            this.more = streams.length === PAGE;

            if (!this.more) {
                break;
            }
        }

        this.all = all;
        this.loaded = true;
    }

    #well() {
        const was = this.problem;

        this.problem = null;
        this.failures = 0;
        this.dispatchEvent(new Event("change"));

        if (was) {
            this.dispatchEvent(new Event("problem"));
        }
    }

    #failed(e) {
        this.problem = e;
        this.failures++;
        this.retryAt = Date.now() + this.#delay();
        this.dispatchEvent(new Event("problem"));
    }

    #delay() {
        return Math.min(PERIOD * 2 ** Math.min(this.failures, 3), PERIOD_MOST);
    }
}


export const streams = new Streams();
