// Builds the dashboard into dist/: scripts and styles bundled under names that change with their
// content, each also compressed, and the page that names them. The page is written last: its age
// is that of the build.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const folder = new URL("./", import.meta.url);
const dist = new URL("dist/", folder);

const built = await build({
  absWorkingDir: fileURLToPath(folder),
  entryPoints: { app: "src/main.tsx", theme: "src/early.ts", style: "src/style/main.css" },
  outdir: "dist",
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
  write: false,
  logLevel: "warning",
});

/** Contents by file name. */
const files = new Map(
  built.outputFiles.map((file) => [file.path.split("/").at(-1), Buffer.from(file.contents)]),
);
const icon = await readFile(new URL("src/icon.svg", folder));
const digest = createHash("sha256").update(icon).digest("hex").slice(0, 8).toUpperCase();
files.set(`icon-${digest}.svg`, icon);

const named = (stem) => [...files.keys()].find((name) => name.startsWith(`${stem}-`));
const page = await readFile(new URL("src/index.html", folder), "utf8");
const linked = page.replace(/"asset:(\w+)"/g, (_, stem) => `"/assets/${named(stem)}"`);
files.set("index.html", Buffer.from(linked.replace(/^\s+/gm, "")));

await mkdir(dist, { recursive: true });
for (const old of await readdir(dist)) {
  if (!old.startsWith(".")) await rm(new URL(old, dist));
}
let sent = 0;
for (const [name, bytes] of files) {
  const zipped = gzipSync(bytes, { level: constants.Z_BEST_COMPRESSION, memLevel: 9 });
  const shrinks = zipped.length < bytes.length;
  if (shrinks) await writeFile(new URL(`${name}.gz`, dist), zipped);
  sent += shrinks ? zipped.length : bytes.length;
  await writeFile(new URL(name, dist), bytes);
}
console.log(`dashboard: ${files.size} files, ${(sent / 1000).toFixed(1)} KB compressed`);
