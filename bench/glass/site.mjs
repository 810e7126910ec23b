/*
 * Serves the player's page from an origin of its own: what it plays, it plays
 * across origins, with CORS enforced.
 */

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import {fileURLToPath} from "node:url";


const HERE = path.dirname(fileURLToPath(import.meta.url));
const HLS = path.join(HERE, "../../node_modules/hls.js/dist/hls.min.js");

const TYPES = {".html": "text/html", ".mjs": "text/javascript",
               ".js": "text/javascript"};


/* {url(src, config), close()} */
export async function serve() {
    const server = http.createServer((request, response) => {
        const name = path.basename(new URL(request.url, "http://x").pathname);
        const file = name === "hls.min.js" ? HLS : path.join(HERE, name);

        fs.readFile(file, (error, data) => {
            response.writeHead(error ? 404 : 200, {
                "Content-Type": TYPES[path.extname(name)] || "text/plain",
                "Cache-Control": "no-store",
            });
            response.end(data);
        });
    });

    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

    return {
        url: (src, config) => "http://127.0.0.1:" + server.address().port
            + "/player.html?" + new URLSearchParams({
                src, config: JSON.stringify(config || {}),
            }),
        close: () => server.close(),
    };
}
