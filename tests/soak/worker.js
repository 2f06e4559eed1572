// As worker.py, in Node: eight connects at a time, with and without its own going through the addresses.
//     node worker.js node SEED WARM_UP UNTIL LIMIT PORT RECORDS HOST..
"use strict";
const fs = require("fs");
const net = require("net");
const { lookup } = require("dns");
const [, seed, warmUp, end, limit, port, records, ...hosts] = process.argv.slice(2);
const file = fs.openSync(records, "a", 0o600);
const now = () => Number(process.hrtime.bigint()) / 1e9; // the clock of worker.py

// Node 18 never ends a connection that is destroyed while it goes through the addresses, with failover or without.
const mayAutoSelect = Number(process.versions.node.split(".")[0]) >= 20;

let state = Number(seed);
function random(end) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % end;
}

// When this program was last kept from its events for so long that a timer of its own may have run before them.
let stalled = 0;
let ticked = now();
setInterval(() => {
    if (now() - ticked > 0.1) stalled = now();
    ticked = now();
}, 10).unref();

function connectOnce() {
    return new Promise((resolve) => {
        const some = hosts[random(hosts.length)];
        // As in worker.py.
        const host = some === "dark.test" && random(20) ? hosts[0] : some;
        const begin = now();
        let said = "";
        const connection = net.connect({ host, port: Number(port), autoSelectFamily: random(4) === 0 && mayAutoSelect });
        const timer = setTimeout(() => end("!timeout"), limit * 1000);
        let ended = false;
        function end(outcome) {
            if (ended) return;
            ended = true;
            clearTimeout(timer);
            connection.destroy();
            fs.writeSync(file, JSON.stringify([begin, now(), host, null, outcome]) + "\n");
        }
        connection.on("error", (error) => {
            const codes = new Set((error.errors || [error]).map((each) => each.code));
            // It gives each address but the last a quarter of a second.
            const own = codes.has("ETIMEDOUT");
            const excuse = Math.max(stalled, now() - ticked > 0.1 ? now() : 0) > begin ? " after a stall" : "";
            end(own ? "!own timer" + excuse : "!" + [...codes].sort().join("+"));
        });
        connection.on("data", (data) => (said += data));
        connection.on("close", () => {
            const found = /^HTTP\/1.0 200 nextaddr-live ([\d.]+)\r\n/.exec(said);
            end(found ? found[1] : "!no answer");
            resolve();
        });
    });
}

async function work(until) {
    const one = async () => {
        while (now() < until) await connectOnce();
    };
    await Promise.all(Array.from({ length: 8 }, one));
}

const line = () => new Promise((resolve) => process.stdin.once("data", resolve));

// A probe may outlive its connect by 2 s, and ends with the next call of the program.
const letProbesEnd = () => new Promise((resolve) => setTimeout(resolve, 2200));

async function main() {
    await Promise.all(hosts.map((host) => new Promise((resolve) => lookup(host, resolve))));
    await work(now() + Number(warmUp));
    for (const [word, until] of [["ready", Number(end)], ["done", 0]]) {
        await letProbesEnd();
        console.log(word);
        await line();
        await work(until);
    }
    process.exit();
}

main();
