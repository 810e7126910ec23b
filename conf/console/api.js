/*
 * The REST API, as the console uses it.  Every call answers with the body's
 * JSON or throws a Problem.
 */


const BASE = document.documentElement.dataset.api;
const TIMEOUT = 10000;


/* What went wrong, from application/problem+json where there is one.
 * status is 0 when no answer came; fields maps a field's name to its fault. */
export class Problem extends Error {
    constructor(status, body) {
        super(body.detail || body.title || reason(status));
        this.status = status;
        this.title = body.title || reason(status);
        this.fields = fieldErrors(body);
    }
}


function reason(status) {
    if (status === 0) {
        return "The server does not answer.";
    }

    if (status === 401 || status === 403) {
        return "The API refuses this address or user (HTTP " + status
               + "). By default it lets only the server itself in: see allow, "
               + "deny and auth_basic in nginx.conf.";
    }

    if (status === 404) {
        return "There is no such thing (HTTP 404).";
    }

    return "The API answers with HTTP " + status + ".";
}


function fieldErrors(body) {
    const fields = new Map();
    const list = Array.isArray(body.errors) ? body.errors : [body];

    for (const e of list) {
        const name = typeof e.field === "string" ? e.field : e.pointer;

        if (typeof name === "string") {
            fields.set(name.replace(/^#?\//, "").replaceAll("/", "."),
                       String(e.detail || e.message || body.title));
        }
    }

    return fields;
}


async function call(method, path, body, signal) {
    const limit = AbortSignal.timeout(TIMEOUT);
    const init = {method, cache: "no-store", redirect: "error",
                  headers: {Accept: "application/json"},
                  signal: signal ? AbortSignal.any([signal, limit]) : limit};
    let response, answer;

    if (body !== undefined) {
        init.body = JSON.stringify(body);
        init.headers["Content-Type"] = "application/json";
    }

    try {
        response = await fetch(BASE + path, init);
        answer = response.status === 204 ? null : await parse(response);

    } catch (e) {
        if (signal?.aborted) {
            throw e;
        }

        throw new Problem(0, {});
    }

    if (!response.ok) {
        throw new Problem(response.status, answer || {});
    }

    return answer;
}


async function parse(response) {
    const type = response.headers.get("Content-Type") || "";

    if (/^application\/(problem\+)?json\b/.test(type)) {
        return response.json();
    }

    if (response.ok) {
        throw new TypeError("not JSON: " + type);
    }

    return null;
}


const at = (id) => "/" + encodeURIComponent(id);

export const list = (limit, offset, signal) =>
    call("GET", "?limit=" + limit + "&offset=" + offset, undefined, signal);

export const get = (id, signal) => call("GET", at(id), undefined, signal);
export const create = (body) => call("POST", "", body);
export const patch = (id, body) => call("PATCH", at(id), body);
export const remove = (id) => call("DELETE", at(id));
export const start = (id) => call("POST", at(id) + "/start");
export const stop = (id) => call("POST", at(id) + "/stop");
export const newKey = (id) => call("POST", at(id) + "/key");


const recording = (id, rid) => at(id) + "/recordings" + at(rid);

export const recordings = (id, limit, signal) =>
    call("GET", at(id) + "/recordings?limit=" + limit, undefined, signal);

export const getRecording = (id, rid, signal) =>
    call("GET", recording(id, rid), undefined, signal);

export const keepRecording = (id, rid, until) =>
    call("PATCH", recording(id, rid), {retention_until: until});

export const convert = (id, rid, body) =>
    call("POST", recording(id, rid) + "/convert", body);

export const removeRecording = (id, rid) =>
    call("DELETE", recording(id, rid));


const media = (id, name) =>
    new URL(document.documentElement.dataset.streams + at(id) + "/" + name,
            location.href).href;

export const playlistUrl = (id) => media(id, "master.m3u8");
export const thumbnailUrl = (id) => media(id, "thumbnail.jpg");


/* A path below /streams/ that the API told, where this server has its streams;
 * null where it is nothing of the kind. */
export function mediaUrl(path) {
    return typeof path === "string" && path.startsWith("/streams/")
           ? new URL(document.documentElement.dataset.streams
                     + path.slice("/streams".length), location.href).href
           : null;
}
