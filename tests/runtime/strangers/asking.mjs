// A client of Node's own HTTP/2 over TLS, by ALPN: uploads with trailers on many streams of one connection, then, when the proxy asks it to
// leave, one exchange that is under way. Prints what it saw as JSON, a line each; reads a line from standard input before it ends.
import fs from "node:fs";
import http2 from "node:http2";

const [port, root] = process.argv.slice(2);
const client = http2.connect(`https://localhost:${port}`, { ca: fs.readFileSync(root) });
client.on("error", (error) => { console.error(error); process.exit(1); });

function upload(path, pieces, { pause } = {}) {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ":method": "POST", ":path": path, "x-number": "7" }, { waitForTrailers: true });
    const seen = { status: 0, trailers: {}, body: "" };
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-last": "1" }));
    stream.on("response", (headers) => { seen.status = headers[":status"]; });
    stream.on("trailers", (headers) => { seen.trailers = { ...headers }; });
    stream.on("data", (piece) => { seen.body += piece; });
    stream.on("error", reject);
    stream.on("close", () => resolve(seen));
    (async () => {
      for (let number = 0; number < pieces; number += 1) {
        if (pause && number === 1) await pause;
        if (!stream.write(Buffer.alloc(65536, "n"))) await new Promise((go) => stream.once("drain", go));
      }
      stream.end();
    })();
  });
}

client.on("connect", async () => {
  const path = "/";
  const every = await Promise.all(Array.from({ length: 20 }, () => upload(path, 8)));
  console.log(JSON.stringify({
    alpn: client.alpnProtocol,
    statuses: [...new Set(every.map((one) => one.status))],
    lengths: [...new Set(every.map((one) => JSON.parse(one.body).length))],
    trailers: every.map((one) => one.trailers["x-sum"]).filter((sum) => sum === "524288").length,
  }));
  const left = new Promise((resolve) => client.on("goaway", (code) => resolve(code)));
  const last = upload(path, 4, { pause: left });
  console.log(JSON.stringify({ under: "way" }));
  const code = await left;
  const seen = await last;
  console.log(JSON.stringify({ goaway: code, status: seen.status, length: JSON.parse(seen.body).length }));
  client.close(() => process.exit(0));
});
setTimeout(() => process.exit(1), 20000).unref();
