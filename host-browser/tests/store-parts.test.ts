/**
 * The store's parts that need no browser: ranges beyond 4 GiB, names of shards, headers of GGUF files.
 */

import assert from "node:assert";
import { describe, test } from "node:test";

import { SippError } from "../src/error.ts";
import { checkGguf } from "../src/store/gguf.ts";
import { added, areRanges, covered, gaps, pieces, prefix, type Range } from "../src/store/ranges.ts";
import { listed, type ModelSource } from "../src/store/source.ts";
import { gguf } from "./store-server.ts";

const GIB = 1024 ** 3;

describe("ranges", () => {
  test("ranges that touch become one, whatever their order", () => {
    const order: Range[] = [[20, 30], [0, 10], [40, 50], [10, 20], [25, 45]];
    const all = order.reduce((ranges, range) => added(ranges, range), [] as Range[]);
    assert.deepEqual(all, [[0, 50]]);
    assert.deepEqual(added([[0, 10]], [5, 5]), [[0, 10]]);
  });

  test("random ranges count as a set of bytes counts", () => {
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state % below;
    };
    for (let round = 0; round < 200; round += 1) {
      const bytes = new Set<number>();
      let ranges: Range[] = [];
      for (let step = 0; step < 12; step += 1) {
        const from = random(100);
        const to = from + random(20);
        ranges = added(ranges, [from, to]);
        for (let at = from; at < to; at += 1) {
          bytes.add(at);
        }
      }
      assert.equal(covered(ranges), bytes.size);
      assert.equal(covered(gaps(ranges, 150)), 150 - bytes.size);
      assert.ok(areRanges(ranges, 150));
      let whole = 0;
      while (bytes.has(whole)) {
        whole += 1;
      }
      assert.equal(prefix(ranges), whole);
    }
  });

  test("a file of 4.5 GiB is planned to its last byte, also from a break beyond 4 GiB", () => {
    const bytes = 4.5 * GIB + 7;
    const plan = [...pieces(gaps([], bytes), 8 << 20)];
    assert.equal(plan.length, 577);
    assert.deepEqual(plan.at(-1), [4.5 * GIB, bytes]);
    assert.equal(covered(plan), bytes);
    const there: Range[] = [[0, 2 * GIB + 1], [4 * GIB + 5, 4 * GIB + 100]];
    const rest = [...pieces(gaps(there, bytes), 8 << 20)];
    assert.deepEqual(rest[0], [2 * GIB + 1, 2 * GIB + 1 + (8 << 20)]);
    assert.equal(covered(rest) + covered(there), bytes);
    assert.deepEqual(rest.reduce((ranges, range) => added(ranges, range), there), [[0, bytes]]);
  });

  test("a note that cannot be ranges of the file is none", () => {
    for (const wrong of [null, {}, [[1]], [[3, 2]], [[0, 11]], [[0, 5], [4, 8]], [["0", "1"]], [[0.5, 2]]]) {
      assert.equal(areRanges(wrong, 10), false, JSON.stringify(wrong));
    }
  });
});

describe("sources", () => {
  const urls = (source: ModelSource, sha256?: string | string[]): string[] => {
    const list = listed(source, sha256, "https://here.test/app/");
    return "files" in list ? list.files.map((file) => ("url" in file ? file.url : file.file.name)) : [list.id];
  };
  const refused = (source: ModelSource, pattern: RegExp, sha256?: string | string[]): void => {
    assert.throws(() => listed(source, sha256, "https://here.test/app/"), (error) => error instanceof SippError && error.kind === "invalid-model-source" && pattern.test(error.message));
  };

  test("addresses are relative to the page, and keep what is asked of the server", () => {
    assert.deepEqual(urls("models/a.gguf"), ["https://here.test/app/models/a.gguf"]);
    assert.deepEqual(urls(new URL("https://there.test/a.gguf?x=1#part")), ["https://there.test/a.gguf?x=1"]);
  });

  test("the first shard stands for all, and a query stays", () => {
    assert.deepEqual(urls("/m-00001-of-00002.gguf?key=1"), ["https://here.test/m-00001-of-00002.gguf?key=1", "https://here.test/m-00002-of-00002.gguf?key=1"]);
    refused("/m-00002-of-00002.gguf", /shard 2 of 2/);
  });

  test("shards that do not fit together are refused", () => {
    refused(["/m-00001-of-00003.gguf", "/m-00003-of-00003.gguf"], /shard 2 of 3/);
    refused(["/m-00001-of-00002.gguf", "/n-00002-of-00002.gguf"], /no shard/);
    refused(["/m-00001-of-00002.gguf", "/m-00002-of-00003.gguf"], /no shard/);
    refused(["/a.gguf", "/b.gguf"], /no shard/);
    refused(new File([], "m-00001-of-00002.gguf"), /shard 2 of 2/);
  });

  test("a pair is a model's files, then the projector's, with a hash for each", () => {
    const list = listed({ model: "/m-00001-of-00002.gguf", projector: "/p.gguf" }, ["a".repeat(64), "b".repeat(64), "C".repeat(64)], "https://here.test/");
    assert.ok("files" in list);
    assert.deepEqual([list.files.length, list.projectors, list.files[2]?.sha256], [3, 1, "c".repeat(64)]);
    refused({ model: "/m.gguf", projector: "/p.gguf" }, /2 files and 1 hashes/, "a".repeat(64));
  });

  test("an installed id is alone", () => {
    const id = `model-${"0".repeat(24)}`;
    assert.deepEqual(urls(id), [id]);
    refused({ model: id, projector: "/p.gguf" }, /installed model/);
  });
});

describe("headers", () => {
  const check = (bytes: Uint8Array, size = bytes.length): unknown => {
    const read = (into: Uint8Array, at: number): number => {
      const piece = bytes.subarray(at, at + into.length);
      into.set(piece);
      return piece.length;
    };
    return checkGguf(read, size, "m.gguf");
  };
  const fault = (bytes: Uint8Array): string => {
    try {
      check(bytes);
      return "none";
    } catch (error) {
      assert.ok(error instanceof SippError, String(error));
      return error.details.fault ?? "";
    }
  };

  test("a whole file is told by its architecture", () => {
    assert.deepEqual(check(gguf(10_000, 1)), { architecture: "llama" });
  });

  test("every cut of a file is found", () => {
    const bytes = gguf(4000, 1);
    for (let size = 0; size < bytes.length; size += 1) {
      assert.equal(fault(bytes.subarray(0, size)), size < 4 ? "not-gguf" : "corrupt", `${size} bytes`);
    }
  });

  test("no damaged header does worse than an error", () => {
    const bytes = gguf(4000, 1);
    for (let at = 0; at < 160; at += 1) {
      for (const flip of [1, 0x80, 0xff]) {
        const damaged = Uint8Array.from(bytes);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        assert.ok(["none", "corrupt", "not-gguf"].includes(fault(damaged)));
      }
    }
  });
});
