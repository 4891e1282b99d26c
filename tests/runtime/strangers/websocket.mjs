// A client of Node's own HTTP/2: extended CONNECT, frames by hand, and a request with trailers. Prints what it saw as JSON.
import http2 from "node:http2";

const client = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
const seen = {};

function frame(text) {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

function talk() {
  return new Promise((resolve, reject) => {
    const stream = client.request({
      ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":authority": "a.test", ":path": "/ws",
      "sec-websocket-version": "13",
    });
    stream.on("error", reject);
    stream.on("response", (headers) => { seen.status = headers[":status"]; stream.write(frame("from node")); });
    let data = Buffer.alloc(0);
    stream.on("data", (piece) => {
      data = Buffer.concat([data, piece]);
      if (data.length >= 2 && data.length >= 2 + data[1]) {
        seen.echo = data.subarray(2, 2 + data[1]).toString();
        stream.close();
        resolve();
      }
    });
  });
}

client.on("remoteSettings", async (settings) => {
  seen.offered = settings.enableConnectProtocol;
  await talk();
  console.log(JSON.stringify(seen));
  client.close();
});
setTimeout(() => process.exit(1), 10000).unref();
