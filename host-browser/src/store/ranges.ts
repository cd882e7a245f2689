/**
 * Which bytes of a file are there: sorted ranges that do not touch, and the pieces that are still missing.
 *
 * Plain functions on plain numbers, so that files beyond 4 GiB are counted exactly and tests need no file. Nothing here
 * may use operators on 32 bits.
 */

/** From, and up to but not including. */
export type Range = readonly [from: number, to: number];

/** The ranges with one more. */
export function added(ranges: readonly Range[], [from, to]: Range): Range[] {
  if (from >= to) {
    return [...ranges];
  }
  const apart = ranges.filter(([start, end]) => end < from || start > to);
  const joined = ranges.filter(([start, end]) => end >= from && start <= to);
  const one: Range = [Math.min(from, ...joined.map(([start]) => start)), Math.max(to, ...joined.map(([, end]) => end))];
  return [...apart, one].sort(([start], [other]) => start - other);
}

/** How many bytes are there. */
export function covered(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from, 0);
}

/** How many bytes are there from the file's beginning on, without a gap. */
export function prefix(ranges: readonly Range[]): number {
  const [first] = ranges;
  return first === undefined || first[0] > 0 ? 0 : first[1];
}

/** What is missing of a file of `bytes`. */
export function gaps(ranges: readonly Range[], bytes: number): Range[] {
  const found: Range[] = [];
  let at = 0;
  for (const [from, to] of ranges) {
    if (from > at) {
      found.push([at, from]);
    }
    at = to;
  }
  if (at < bytes) {
    found.push([at, bytes]);
  }
  return found;
}

/** The gaps, cut into pieces of at most `longest` bytes. */
export function* pieces(missing: readonly Range[], longest: number): Generator<Range> {
  for (const [from, to] of missing) {
    for (let at = from; at < to; at += longest) {
      yield [at, Math.min(at + longest, to)];
    }
  }
}

/** Whether what was read from a note can be ranges of a file of `bytes`. */
export function areRanges(value: unknown, bytes: number): value is Range[] {
  let at = -1;
  return (
    Array.isArray(value) &&
    value.every((one: unknown) => {
      const [from, to] = Array.isArray(one) ? (one as unknown[]) : [];
      const fits = Number.isSafeInteger(from) && Number.isSafeInteger(to) && (from as number) > at && (to as number) > (from as number);
      at = to as number;
      return fits && at <= bytes;
    })
  );
}
