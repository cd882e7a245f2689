/**
 * The same generation in Node.js: how much of the engine's speed Chromium keeps.
 *
 * It is a process of its own, because it is measured in turns with Chromium, and starts as cold. Its one argument is the
 * task, as JSON; it writes the speed, as JSON.
 */

import { SippClient } from "../tests/published.ts";
import { local, speed, type Task, threading } from "./speed.ts";

const task = JSON.parse(process.argv[2] ?? "{}") as Task;
const client = new SippClient(threading(task));
await client.add("model", local(task));
const response = await client.query(task.prompt, { maxTokens: task.tokens, temperature: 0 }).response;
await client.close();
console.log(JSON.stringify(speed(response)));
