// Forms the replica set once, waits for its primary; run by mongosh on mongo-1. Repeatable: a set that exists is left
// alone.
const MEMBERS = ["mongo-1:27017", "mongo-2:27017", "mongo-3:27017"];
const WAIT_LIMIT_MS = 60000;

const deadline = Date.now() + WAIT_LIMIT_MS;
if (db.hello().setName === undefined) {
  const members = MEMBERS.map((host, index) => ({ _id: index, host }));
  const result = rs.initiate({ _id: "catchall", members });
  if (result.ok !== 1) throw new Error(`rs.initiate: ${JSON.stringify(result)}`);
}
while (!db.hello().primary) {
  if (Date.now() > deadline) throw new Error("The replica set has no primary");
  sleep(500);
}
print(`The replica set has a primary: ${db.hello().primary}`);
