import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  firstPageOf,
  PAGES,
  PARTITIONS_MAX,
  pageOf,
  partitionOf,
} from "../../src/model/partition-id.ts";

const COUNTS = Array.from({ length: 17 }, (_, bits) => 2 ** bits);

describe("partitionOf", () => {
  it("gives each partition one contiguous range of hashes, for every number of partitions", () => {
    for (const partitions of COUNTS) {
      const size = 2 ** 32 / partitions;
      for (let partition = 0; partition < partitions; partition++) {
        assert.equal(partitionOf(partition * size, partitions), partition);
        assert.equal(partitionOf(partition * size + size - 1, partitions), partition);
      }
    }
    assert.equal(COUNTS.at(-1), PARTITIONS_MAX);
  });

  it("treats a hash as unsigned, whatever sign its number has", () => {
    for (const partitions of COUNTS) {
      assert.equal(partitionOf(-1, partitions), partitionOf(0xffffffff, partitions));
      assert.equal(partitionOf(-1, partitions), partitions - 1);
    }
  });
});

describe("pageOf", () => {
  it("is the top 16 bits", () => {
    assert.deepEqual([0, 0xffff, 0x10000, 0xffffffff].map(pageOf), [0, 0, 1, PAGES - 1]);
  });

  it("keeps a page within one partition", () => {
    for (const partitions of COUNTS) {
      for (let page = 0; page < PAGES; page += 331) {
        const partition = partitionOf(page * 65_536, partitions);
        assert.equal(partitionOf(page * 65_536 + 65_535, partitions), partition);
        assert.ok(firstPageOf(partition, partitions) <= page);
        assert.ok(page < firstPageOf(partition + 1, partitions));
      }
    }
  });
});
