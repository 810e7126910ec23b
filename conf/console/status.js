/*
 * What the console knows of a stream's status.  An unknown one is shown as it
 * is, so that the console does not break with a newer server.
 *
 *     air     listed under "On air"
 *     play    there may be something to play
 *     start, stop     what the operator may ask
 *     text    shown in the player while there is no picture
 */

import {h, setText} from "./dom.js";


const STATUS = {
    live: {label: "Live", air: true, play: true, stop: true,
           text: "Loading the picture …"},
    interrupted: {label: "Interrupted", air: true, play: true, stop: true,
                  text: "The publisher is away. The stream goes on when it "
                        + "comes back."},
    starting: {label: "Starting", air: false, stop: true,
               text: "Waiting for the publisher."},
    stopping: {label: "Stopping", air: true, text: "The stream is stopping."},
    idle: {label: "Idle", start: true, stop: true,
           text: "Nobody publishes yet."},
    stopped: {label: "Stopped", start: true,
              text: "The stream is stopped: its key is refused until it is "
                    + "started."},
    ended: {label: "Ended", start: true, stop: true,
            text: "The stream has ended. It goes live again as soon as "
                  + "somebody publishes."},
    error: {label: "Error", start: true, stop: true,
            text: "The stream ended with an error. The server's error log "
                  + "says why."},
};


export function statusOf(stream) {
    return STATUS[stream.status]
           || {label: String(stream.status), text: "", start: true, stop: true};
}


const RECORDING = {
    recording: {label: "Recording",
                text: "It is being recorded: watch it live."},
    processing: {label: "Processing",
                 text: "The recording is being finished …"},
    ready: {label: "Ready", text: "Loading the picture …"},
    failed: {label: "Failed",
             text: "The recording failed. The server's error log says why."},
    deleted: {label: "Deleted", text: "The recording was deleted."},
};


export function recordingStatus(recording) {
    return RECORDING[recording.status]
           || {label: String(recording.status), text: ""};
}


export function badge() {
    return h("span.badge", {}, h("i", {"aria-hidden": "true"}),
             h("span"));
}


export function setBadge(node, stream) {
    const known = stream.status in STATUS;

    node.dataset.status = known ? stream.status : "unknown";
    setText(node.lastChild, statusOf(stream).label);
}


export function setRecordingBadge(node, recording) {
    const known = recording.status in RECORDING;

    node.dataset.status = known ? recording.status : "unknown";
    setText(node.lastChild, recordingStatus(recording).label);
}


/* "12:31", "3:02:11", "2 d 3 h" */
export function clock(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(s / 3600);
    const rest = Math.floor(s / 60) % 60;

    if (hours >= 24) {
        return Math.floor(hours / 24) + " d " + hours % 24 + " h";
    }

    return hours ? hours + ":" + two(rest) + ":" + two(s % 60)
                 : rest + ":" + two(s % 60);
}


/* "2 h", "90 min", "45 s" */
export function span(seconds) {
    const [unit, name] = seconds % 3600 === 0 ? [3600, "h"]
                         : seconds % 60 === 0 ? [60, "min"] : [1, "s"];

    return seconds / unit + " " + name;
}


/* "1.3 GB" */
export function bytes(n) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let i = 0;

    for (; n >= 999.5 && i < units.length - 1; i++) {
        n /= 1000;
    }

    return (i && n < 99.95 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}


export function ago(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"],
                   [Infinity, 86400, "d"]];
    const [, unit, name] = steps.find(([limit]) => s < limit);

    return s < 5 ? "just now" : Math.floor(s / unit) + " " + name + " ago";
}


/* What the list says beside a stream's owner. */
export function since(stream) {
    const now = Date.now();
    const at = (text) => Date.parse(text ?? "");
    const started = at(stream.started_at);
    const ended = at(stream.ended_at);
    const created = at(stream.created_at);

    if (statusOf(stream).air && started) {
        return clock(now - started);
    }

    if (ended) {
        return "ended " + ago(now - ended);
    }

    return created ? "created " + ago(now - created) : "";
}


export function dateText(text) {
    const at = new Date(text ?? NaN);

    return Number.isNaN(at.getTime()) ? "–" : at.toLocaleString(undefined, {
        dateStyle: "medium", timeStyle: "medium",
    });
}
