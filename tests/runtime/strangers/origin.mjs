// An origin of Node's own: HTTP/1.1 and HTTP/2 with prior knowledge, each on a port of its own, which it prints. It answers what it saw as
// JSON, with a trailer, invites who waits for 100, and counts its connections.
import http from "node:http";
import http2 from "node:http2";

const connections = { h1: 0, h2: 0 };

function answer(version, request, response) {
  const hash = [];
  let length = 0;
  request.on("data", (piece) => { length += piece.length; hash.push(piece[0]); });
  request.on("end", () => {
    const seen = {
      version, method: request.method, path: request.url, length, trailers: request.trailers ?? {},
      connections: connections[version], expected: request.headers.expect ?? "",
    };
    response.writeHead(200, version === "h1" ? { "content-type": "application/json", trailer: "x-sum" } : { "content-type": "application/json" });
    response.addTrailers({ "x-sum": String(length) });
    response.end(JSON.stringify(seen));
  });
}

const old = http.createServer((request, response) => answer("h1", request, response));
old.on("connection", () => { connections.h1 += 1; });
old.on("checkContinue", (request, response) => { response.writeContinue(); answer("h1", request, response); });

const young = http2.createServer((request, response) => answer("h2", request, response));
young.on("session", () => { connections.h2 += 1; });

old.listen(0, "127.0.0.1", () => {
  young.listen(0, "127.0.0.1", () => console.log(`${old.address().port} ${young.address().port}`));
});
