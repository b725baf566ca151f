// Unpacks what @sparticuz/chromium carries, compressed by brotli, into a folder: node unpack.mjs FROM TO
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";

const [from, to] = process.argv.slice(2);
for (const name of readdirSync(from).filter((name) => name.endsWith(".br"))) {
  const mode = name === "chromium.br" ? 0o755 : 0o644;
  writeFileSync(`${to}/${name.slice(0, -3)}`, brotliDecompressSync(readFileSync(`${from}/${name}`)), { mode });
}
