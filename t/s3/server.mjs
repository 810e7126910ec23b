// An S3 server for tests: s3rver, which keeps the objects, behind what it does
// not do itself: it checks signatures (by aws4), dates, regions, SHA-256 and
// Content-MD5, makes the ETags of uploads in parts as Amazon does and aborts
// such uploads.  In front of that a TCP proxy that is slow, hangs or breaks
// connections, as it is told.
//
//     client --> net (rate, cut, hang) --> http (verify) --> s3rver --> files
//
// server.mjs CONFIG: JSON of port, directory, bucket, region, access, secret,
// token, cors, and for TLS certificate and key.  Prints a line of JSON when it
// is ready.  Each line of JSON on stdin says what goes wrong from now on, {}
// nothing, and is answered by one with the requests since the last such line,
// and how many connections there were; it ends with stdin.

import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import tls from 'node:tls';

import aws4 from 'aws4';
import S3rver from 's3rver';

const config = JSON.parse(process.argv[2]);
const SKEW = 15 * 60 * 1000;

let faults = {};
let requests = [];
let connections = 0;

class Refusal extends Error {
    constructor(status, code, message, extra = '') {
        super(message);
        Object.assign(this, { status, code, extra });
    }
}

const sum = (name, bytes, as) => createHash(name).update(bytes).digest(as);

function instant(stamp) {
    const t = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp ?? '');

    if (!t) {
        throw new Refusal(403, 'AccessDenied', 'no valid date');
    }

    return Date.UTC(t[1], t[2] - 1, t[3], t[4], t[5], t[6]);
}

// the signature that a request should have, by somebody else's signer
function expected(method, url, headers, stamp, signQuery) {
    const include = Object.fromEntries(
        Object.keys(headers).map(name => [name, true]));
    const signer = new aws4.RequestSigner({
        method, headers, path: url, host: headers.host, service: 's3',
        region: config.region, signQuery, doNotModifyHeaders: true,
        extraHeadersToInclude: include,
    }, {
        accessKeyId: config.access, secretAccessKey: config.secret,
        sessionToken: config.token,
    });

    signer.datetime = stamp;

    return signer.signature();
}

function checkScope(credential, stamp) {
    const [key, day, region, service, end] = credential.split('/');

    if (key !== config.access) {
        throw new Refusal(403, 'InvalidAccessKeyId', 'no such access key');
    }

    if (region !== config.region) {
        throw new Refusal(400, 'AuthorizationHeaderMalformed',
            `the region '${region}' is wrong; expecting '${config.region}'`,
            `<Region>${config.region}</Region>`);
    }

    if (service !== 's3' || end !== 'aws4_request'
        || day !== stamp.slice(0, 8))
    {
        throw new Refusal(400, 'AuthorizationHeaderMalformed', 'bad scope');
    }
}

function checkToken(token) {
    if ((config.token ?? '') !== (token ?? '')) {
        throw new Refusal(400, 'InvalidToken', 'the token is not valid');
    }
}

function verifyHeader(req) {
    const auth = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/
        .exec(req.headers.authorization ?? '');

    if (!auth) {
        throw new Refusal(403, 'AccessDenied', 'not signed');
    }

    const stamp = req.headers['x-amz-date'];
    const names = auth[2].split(';');

    if (Math.abs(instant(stamp) - Date.now()) > SKEW) {
        throw new Refusal(403, 'RequestTimeTooSkewed', 'check your clock');
    }

    checkScope(auth[1], stamp);
    checkToken(req.headers['x-amz-security-token']);

    for (const name of Object.keys(req.headers)) {
        if ((name === 'host' || name === 'content-md5'
             || name.startsWith('x-amz-')) && !names.includes(name))
        {
            throw new Refusal(403, 'AccessDenied', `${name} is not signed`);
        }
    }

    if (!req.headers['x-amz-content-sha256']) {
        throw new Refusal(400, 'InvalidRequest', 'no x-amz-content-sha256');
    }

    const headers = Object.fromEntries(
        names.map(name => [name, req.headers[name] ?? '']));

    if (expected(req.method, req.url, headers, stamp, false) !== auth[3]) {
        throw new Refusal(403, 'SignatureDoesNotMatch',
            'the signature is not the one that was calculated');
    }
}

function verifyQuery(req) {
    const query = new URL(req.url, 'http://x').searchParams;
    const stamp = query.get('X-Amz-Date');
    const signature = query.get('X-Amz-Signature');
    const until = instant(stamp) + query.get('X-Amz-Expires') * 1000;

    checkScope(query.get('X-Amz-Credential'), stamp);
    checkToken(query.get('X-Amz-Security-Token'));

    if (instant(stamp) - Date.now() > SKEW || !(until > Date.now())) {
        throw new Refusal(403, 'AccessDenied', 'Request has expired');
    }

    const url = req.url.replace(/&X-Amz-Signature=[^&]*/, '');

    if (query.get('X-Amz-SignedHeaders') !== 'host'
        || expected(req.method, url, { host: req.headers.host }, stamp, true)
           !== signature)
    {
        throw new Refusal(403, 'SignatureDoesNotMatch',
            'the signature is not the one that was calculated');
    }
}

function verify(req) {
    if (/[?&]X-Amz-Signature=/.test(req.url)) {
        verifyQuery(req);
    } else {
        verifyHeader(req);
    }
}

function verifyBody(req, body) {
    const sha256 = req.headers['x-amz-content-sha256'];
    const md5 = req.headers['content-md5'];

    if (md5 && md5 !== sum('md5', body, 'base64')) {
        throw new Refusal(400, 'BadDigest', 'Content-MD5 is of other bytes');
    }

    if (sha256 && sha256 !== 'UNSIGNED-PAYLOAD'
        && sha256 !== sum('sha256', body, 'hex'))
    {
        throw new Refusal(400, 'XAmzContentSHA256Mismatch', 'other bytes');
    }
}

// what comes first of what was asked to go wrong, a number of times
function injected(req) {
    const fault = faults.answer;

    if (!fault || fault.times === 0
        || (fault.method && fault.method !== req.method)
        || (fault.match && !new RegExp(fault.match).test(req.url)))
    {
        return;
    }

    if (fault.times) {
        fault.times--;
    }

    const refusal = new Refusal(fault.status, fault.code, 'as it was told');
    refusal.headers = fault.headers;
    throw refusal;
}

// pages of any origin may read what they can get
const cors = '<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>'
    + '<AllowedMethod>GET</AllowedMethod><AllowedHeader>Range</AllowedHeader>'
    + '</CORSRule></CORSConfiguration>';

const s3 = new S3rver({
    address: '127.0.0.1', port: 0, silent: true, directory: config.directory,
    configureBuckets: [{
        name: config.bucket, configs: config.cors ? [cors] : [],
    }],
});
const { port: inner } = await s3.run();

function ask(req, body) {
    const headers = Object.fromEntries(Object.entries(req.headers).filter(
        ([name]) => !/^(authorization|expect|connection|host|x-amz-(date|content|security).*)$/
            .test(name)));
    const url = req.url.replace(/[?&]X-Amz-Algorithm=.*$/, '');

    if (body.length) {
        headers['content-length'] = body.length;
    }

    return new Promise((resolve, reject) => {
        http.request({
            host: '127.0.0.1', port: inner, method: req.method, path: url,
            headers,
        }, resolve).on('error', reject).end(body);
    });
}

const collect = async stream => {
    const chunks = [];

    for await (const chunk of stream) {
        chunks.push(chunk);
    }

    return Buffer.concat(chunks);
};

// Amazon's ETag of an object in parts, kept where s3rver keeps MD5s
async function complete(req, body) {
    const url = new URL(req.url, 'http://x');
    const [, bucket, ...key] = decodeURIComponent(url.pathname).split('/');
    const folder = path.join(
        s3.store.getResourcePath(bucket, undefined, 'uploads'),
        url.searchParams.get('uploadId'));
    const parts = [...body.toString().matchAll(
        /<PartNumber>(\d+)<\/PartNumber><ETag>&quot;(\w+)&quot;/g)];

    for (const [, number, etag] of parts) {
        const md5 = await readFile(path.join(folder, `${number}.md5`), 'utf8')
            .catch(() => '');

        if (md5 !== etag) {
            throw new Refusal(400, 'InvalidPart', `part ${number}`);
        }
    }

    const etag = sum('md5', Buffer.concat(
        parts.map(part => Buffer.from(part[2], 'hex'))), 'hex')
        + `-${parts.length}`;
    const answer = await ask(req, body);
    const text = (await collect(answer)).toString();

    if (answer.statusCode === 200) {
        await writeFile(
            s3.store.getResourcePath(bucket, key.join('/'), 'object.md5'),
            etag);
    }

    return [answer.statusCode, text.replace(
        /<ETag>.*<\/ETag>/, `<ETag>&quot;${etag}&quot;</ETag>`)];
}

async function abort(req) {
    const url = new URL(req.url, 'http://x');
    const [, bucket] = url.pathname.split('/');

    await rm(path.join(s3.store.getResourcePath(bucket, undefined, 'uploads'),
        url.searchParams.get('uploadId')), { recursive: true, force: true });
}

function damage(body, when) {
    if (faults.flip === when && body.length) {
        body[body.length >> 1] ^= 1;
    }
}

async function serve(req, res) {
    const body = await collect(req);
    const parts = /[?&]uploadId=/.test(req.url);

    injected(req);
    damage(body, 'before');
    verify(req);
    verifyBody(req, body);
    damage(body, 'after');

    if (req.method === 'POST' && parts) {
        const [status, text] = await complete(req, body);
        res.writeHead(status, { 'Content-Type': 'application/xml' });
        res.end(text);

    } else if (req.method === 'DELETE' && parts) {
        await abort(req);
        res.writeHead(204);
        res.end();

    } else {
        const answer = await ask(req, body);
        res.writeHead(answer.statusCode, answer.headers);
        answer.pipe(res);
        await new Promise(done => res.on('close', done));
    }
}

function refuse(req, res, e) {
    const status = e.status ?? 500;
    const text = '<?xml version="1.0" encoding="UTF-8"?>\n<Error>'
        + `<Code>${e.code ?? 'InternalError'}</Code>`
        + `<Message>${e.message}</Message>${e.extra ?? ''}</Error>`;

    if (!req.complete) {
        res.setHeader('Connection', 'close');
    }

    res.writeHead(status, {
        'Content-Type': 'application/xml', ...e.headers,
        'Content-Length': Buffer.byteLength(text),
    });
    res.end(req.method === 'HEAD' ? '' : text);
}

async function handle(req, res) {
    try {
        await serve(req, res);
    } catch (e) {
        refuse(req, res, e);
    }

    requests.push({
        method: req.method, url: req.url, status: res.statusCode,
    });
}

const front = http.createServer(handle);

// as Amazon does: a body is only asked for when its headers are good
front.on('checkContinue', (req, res) => {
    try {
        injected(req);
        verify(req);
    } catch (e) {
        refuse(req, res, e);
        requests.push({
            method: req.method, url: req.url, status: res.statusCode,
        });
        return;
    }

    res.writeContinue();
    handle(req, res);
});

front.keepAliveTimeout = 60000;
front.listen(0, '127.0.0.1');
await new Promise(done => front.on('listening', done));

function forward(from, to, upstream) {
    let passed = 0;

    from.on('data', chunk => {
        passed += chunk.length;

        if (upstream && faults.cut && passed > faults.cut
            && faults.times !== 0)
        {
            if (faults.times) {
                faults.times--;
            }
            from.resetAndDestroy();
            to.destroy();
            return;
        }

        if (faults.hang) {
            return;
        }

        const more = to.write(chunk);

        if (faults.rate) {
            from.pause();
            setTimeout(() => from.resume(), chunk.length / faults.rate * 1000);

        } else if (!more) {
            from.pause();
            to.once('drain', () => from.resume());
        }
    });

    from.on('end', () => to.end());
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
}

function connected(client) {
    connections++;

    const server = net.connect(front.address().port, '127.0.0.1');

    client.setNoDelay();
    server.setNoDelay();
    forward(client, server, true);
    forward(server, client, false);
}

const proxy = config.certificate
    ? tls.createServer({
        cert: await readFile(config.certificate),
        key: await readFile(config.key),
    }, connected)
    : net.createServer(connected);

proxy.listen(config.port, '127.0.0.1', () => {
    console.log(JSON.stringify({ port: proxy.address().port }));
});

readline.createInterface({ input: process.stdin }).on('line', line => {
    faults = JSON.parse(line);
    console.log(JSON.stringify({ requests, connections }));
    requests = [];
    connections = 0;
}).on('close', () => process.exit(0));
