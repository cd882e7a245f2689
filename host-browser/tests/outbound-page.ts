/** The page in which Chromium makes attempts of an adapter's. */

import { attempt } from "./attempt.ts";

declare global {
  interface Window {
    attempt: typeof attempt;
  }
}

window.attempt = attempt;
