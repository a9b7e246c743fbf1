// Runs before the first paint: a chosen theme must not flash in the other one first.

import { applyTheme } from "./theme";

applyTheme();
