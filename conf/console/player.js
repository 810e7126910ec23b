/*
 * Plays one stream in a <video> element and measures it.
 *
 *     hls.js (Media Source) --+
 *                             +--> video element --> stats(), events
 *     Safari's native HLS ----+
 *
 * Events of a Player: "state" (loading, playing, stalled, ended, waiting),
 * "levels" (they are known, or others) and "level" (another one is seen).  A
 * level is known by its track: the folder that its playlist is in.  A playlist that is not there yet is asked for again until it is:
 * the page says "live" a moment before the first segment is whole.
 */


const RETRY = 1000;
const RECOVER = 3000;

/* s; nearer than that to where a live player stays is not behind */
const EDGE = 5;


/* "catch up": play up to this much faster to hold the target latency */
export const CATCH_UP = 1.05;


export class Player extends EventTarget {
    constructor(video, url, {catchUp, chosen}) {
        super();
        this.video = video;
        this.url = url;
        this.catchUp = catchUp;
        this.state = "loading";
        this.stalls = 0;
        this.begun = performance.now();
        this.firstFrame = null;
        this.chosen = chosen;
        this.abort = new AbortController();
        this.#listen();
        this.#load();
    }

    static get supported() {
        return Boolean(window.Hls?.isSupported()) || Player.#native;
    }

    static get #native() {
        return document.createElement("video")
            .canPlayType("application/vnd.apple.mpegurl") !== "";
    }

    destroy() {
        clearTimeout(this.timer);
        this.abort.abort();
        this.#unload();
        this.video.removeAttribute("src");
        this.video.load();
    }

    setCatchUp(on) {
        this.catchUp = on;

        if (this.hls) {
            this.hls.config.maxLiveSyncPlaybackRate = on ? CATCH_UP : 1;
        }

        if (!on) {
            this.video.playbackRate = 1;
        }
    }

    /* a level's track, or null: the one that the network carries */
    choose(track) {
        this.chosen = track;

        if (this.hls) {
            this.hls.nextLevel = this.#find(track);
        }

        this.dispatchEvent(new Event("level"));
    }

    #find(track) {
        return this.levels.findIndex((level) => level.track === track);
    }

    /* to the live edge */
    seekLive() {
        const position = this.hls?.liveSyncPosition;

        if (Number.isFinite(position)) {
            this.video.currentTime = position;
        }

        this.video.play().catch(() => {});
    }

    /* to a second of the range; the end of what is live is the live edge */
    seek(at) {
        const range = this.range;

        if (range?.live && at > range.end - EDGE) {
            this.seekLive();

        } else if (range) {
            this.video.currentTime = Math.min(Math.max(at, range.start),
                                              range.end);
        }
    }

    /* What can be seen, in seconds of the video element, or null: {start, end,
     * live}.  The end of what is live is where a player stays. */
    get range() {
        const details = this.hls?.latestLevelDetails;
        const {seekable} = this.video;

        if (details?.live) {
            const end = this.hls.liveSyncPosition ?? details.edge;

            return {start: details.fragmentStart, end, live: true};
        }

        if (!seekable.length) {
            return null;
        }

        return {start: seekable.start(0),
                end: seekable.end(seekable.length - 1),
                live: this.video.duration === Infinity};
    }

    /* seconds behind the place where a player stays; null: at it, or nothing
     * is live */
    get behind() {
        const range = this.range;
        const behind = range?.live ? range.end - this.video.currentTime : 0;

        return behind > EDGE ? behind : null;
    }

    /* the wall clock of a second of the range, or null */
    dateAt(at) {
        const now = this.#date?.getTime();

        return Number.isFinite(now)
               ? new Date(now + (at - this.video.currentTime) * 1000) : null;
    }

    #set(state) {
        if (this.state !== state) {
            this.state = state;
            this.dispatchEvent(new Event("state"));
        }
    }

    #listen() {
        const on = (type, f) => this.video.addEventListener(type, f,
            {signal: this.abort.signal});

        on("playing", () => {
            this.firstFrame ??= performance.now() - this.begun;
            this.#set("playing");
        });

        on("waiting", () => {
            if (this.state === "playing" && !this.video.seeking) {
                this.stalls++;
                this.#set("stalled");
            }
        });

        on("timeupdate", () => {
            if (this.state === "stalled" && !this.video.paused) {
                this.#set("playing");
            }
        });

        /* what has ended can be sought in, without being played on */
        on("seeked", () => {
            if (this.state === "ended" && !this.video.ended) {
                this.#set("playing");
            }
        });

        on("ended", () => this.#set("ended"));
        on("error", () => this.hls || this.#again());
    }

    #load() {
        if (window.Hls?.isSupported()) {
            this.#loadHls();

        } else {
            this.video.src = this.url;
        }

        /* a page that may not play aloud by itself may do so muted */
        this.video.play().catch(() => {});
    }

    #unload() {
        this.hls?.destroy();
        this.hls = null;
    }

    #again() {
        this.#set("waiting");
        this.#unload();
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.#load(), RETRY);
    }

    #loadHls() {
        const Hls = window.Hls;
        const hls = new Hls({
            maxLiveSyncPlaybackRate: this.catchUp ? CATCH_UP : 1,
        });

        this.hls = hls;

        hls.on(Hls.Events.ERROR, (event, data) => {
            if (data.fatal) {
                this.#fatal(data);
            }
        });

        hls.on(Hls.Events.MANIFEST_PARSED, () => {
            hls.loadLevel = this.#find(this.chosen);
            this.dispatchEvent(new Event("levels"));
            this.video.play().catch(() => {});
        });

        hls.on(Hls.Events.LEVELS_UPDATED, () =>
            this.dispatchEvent(new Event("levels")));

        hls.on(Hls.Events.LEVEL_SWITCHED, () =>
            this.dispatchEvent(new Event("level")));

        hls.loadSource(this.url);
        hls.attachMedia(this.video);
    }

    #fatal(data) {
        const now = performance.now();

        if (data.type === window.Hls.ErrorTypes.MEDIA_ERROR
            && !(now - this.recovered < RECOVER))
        {
            this.recovered = now;
            this.hls.recoverMediaError();
            return;
        }

        this.#again();
    }

    /* from the least to the best */
    get levels() {
        return (this.hls?.levels || []).map((level) => ({
            track: track(level),
            name: name(level),
            width: level.width,
            height: level.height,
            fps: level.frameRate,
            codecs: codecs(level),
            bitrate: known(level.bitrate),
            average: known(level.averageBitrate),
        }));
    }

    /* the one that is seen, or undefined */
    get level() {
        return this.levels[this.hls?.currentLevel];
    }

    /* all in seconds; null where it is not known */
    stats() {
        const video = this.video;
        const hls = this.hls;
        const quality = video.getVideoPlaybackQuality?.();
        const started = video.readyState > 2;

        return {
            latency: started ? this.#wallLatency() : null,
            edge: started ? known(hls?.latency) : null,
            target: known(hls?.targetLatency),
            buffer: started ? buffered(video) : null,
            rate: video.playbackRate,
            width: video.videoWidth,
            height: video.videoHeight,
            frames: quality?.totalVideoFrames ?? 0,
            dropped: quality?.droppedVideoFrames ?? 0,
            level: this.level?.name ?? null,
            stalls: this.stalls,
            firstFrame: this.firstFrame,
        };
    }

    /* from EXT-X-PROGRAM-DATE-TIME: the age of the picture since ingest, as
     * far as this computer's clock and the server's agree */
    #wallLatency() {
        const at = this.#date?.getTime();

        return Number.isFinite(at) ? (Date.now() - at) / 1000 : null;
    }

    /* of the picture that is seen */
    get #date() {
        const video = this.video;

        if (!this.hls && typeof video.getStartDate === "function") {
            return new Date(video.getStartDate().getTime()
                            + video.currentTime * 1000);
        }

        return this.hls?.playingDate;
    }
}


function buffered(video) {
    const ranges = video.buffered;

    for (let i = 0; i < ranges.length; i++) {
        if (ranges.start(i) <= video.currentTime + 0.1
            && video.currentTime < ranges.end(i))
        {
            return ranges.end(i) - video.currentTime;
        }
    }

    return 0;
}


function known(n) {
    return Number.isFinite(n) && n > 0 ? n : null;
}


function track(level) {
    return new URL(level.uri).pathname.split("/").at(-2);
}


/* a rung has the name that nginx.conf gives it */
function name(level) {
    const lines = Math.min(level.width, level.height);

    return track(level) === "source" ? lines ? "Source " + lines + "p"
                                             : "Source"
                                     : track(level);
}


function codecs(level) {
    const list = [level.videoCodec, level.audioCodec].filter(Boolean);

    return list.length ? list.join(", ") : null;
}
