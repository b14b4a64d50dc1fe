// Reads a JSON list of texts on standard input, writes [[o200k_base, old Claude], ...] to standard output.
// Usage: node count_tokens.mjs FOLDER_WITH_NODE_MODULES < texts.json > counts.json
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";

const load = createRequire(path.join(path.resolve(process.argv[2]), "index.js"));
const o200k = load("js-tiktoken").getEncoding("o200k_base");
const claude = load("@anthropic-ai/tokenizer").getTokenizer();
const texts = JSON.parse(readFileSync(0, "utf8"));
const counts = texts.map((text) => [
  o200k.encode(text, [], []).length,
  claude.encode(text.normalize("NFKC"), "all").length,
]);
process.stdout.write(JSON.stringify(counts));
