/** The package as it is published, for tests and measurements in Node.js. Its types are those of the sources. */

export const { SippClient, SippError } = (await import(
  new URL("../dist/index.js", import.meta.url).href
)) as typeof import("../src/index.ts");
