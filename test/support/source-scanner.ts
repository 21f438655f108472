/**
 * Reads TypeScript far enough to judge it: which modules a file imports, and its code without comments and strings.
 *
 * A scanner of characters, not a parser (TypeScript 7 has no compiler API for programs). Offsets and line breaks stay
 * as they were. It must err on the side of seeing code: a rule that misses nothing may name too much.
 */

export interface ScannedSource {
  /** Repository path, "/" separated. */
  readonly path: string;
  readonly text: string;
  /** Comments and the insides of strings, templates and regular expressions are blanks. */
  readonly code: string;
  /** Module specifiers of static and dynamic imports and re-exports, type-only ones too. */
  readonly imports: readonly string[];
}

// `from "…"`, `import "…"`, `import("…")`, `require("…")`; not `Buffer.from("…")`.
const IMPORT = /(?:(?<![.\w$])from\s*|(?<![.\w$])import\s*\(?\s*|\brequire\s*\(\s*)(["'`])/g;

/** Scans one file. Never throws: what does not end (a string, a comment) ends with the file. */
export function scanSource(path: string, text: string): ScannedSource {
  const code = new Blanker(text).run();
  return { path, text, code, imports: importsOf(text, code) };
}

function importsOf(text: string, code: string): readonly string[] {
  const found: string[] = [];
  // Strings are blank in `code` but keep their quotes, so the specifier is read from `text` at the same place.
  for (const match of code.matchAll(IMPORT)) {
    const start = match.index + match[0].length;
    const end = text.indexOf(match[1] as string, start);
    found.push(text.slice(start, end < 0 ? text.length : end));
  }
  return found;
}

/** One pass over the characters; a stack of braces tells where the `${}` of a template ends. */
class Blanker {
  readonly #text: string;
  readonly #out: string[];
  #at = 0;
  /** Depth of braces inside each open `${`. */
  readonly #templates: number[] = [];

  constructor(text: string) {
    this.#text = text;
    this.#out = [...Array(text.length).keys()].map((i) => text[i] as string);
  }

  run(): string {
    if (this.#text.startsWith("#!")) this.#blankUntil("\n", 0);
    while (this.#at < this.#text.length) this.#step();
    return this.#out.join("");
  }

  #step(): void {
    const char = this.#text[this.#at] as string;
    const two = this.#text.slice(this.#at, this.#at + 2);
    if (two === "//") this.#blankUntil("\n", 0);
    else if (two === "/*") this.#blankUntil("*/", 2);
    else if (char === '"' || char === "'") this.#blankQuoted(char);
    else if (char === "`") this.#blankTemplate();
    else if (char === "/" && this.#isRegexHere()) this.#blankRegex();
    else this.#countBrace(char);
  }

  #countBrace(char: string): void {
    this.#at++;
    const top = this.#templates.length - 1;
    if (top < 0) return;
    if (char === "{") this.#templates[top] = (this.#templates[top] as number) + 1;
    if (char !== "}") return;
    if (this.#templates[top] === 0) {
      this.#templates.pop();
      this.#at--;
      this.#blankTemplate();
    } else {
      this.#templates[top] = (this.#templates[top] as number) - 1;
    }
  }

  #blank(): void {
    if (this.#text[this.#at] !== "\n") this.#out[this.#at] = " ";
    this.#at++;
  }

  #blankUntil(end: string, startLength: number): void {
    const found = this.#text.indexOf(end, this.#at + startLength);
    const stop = found < 0 ? this.#text.length : found + (end === "\n" ? 0 : end.length);
    while (this.#at < stop) this.#blank();
  }

  #blankQuoted(quote: string): void {
    this.#at++;
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at] as string;
      if (char === quote || char === "\n") break;
      if (char === "\\") this.#blank();
      this.#blank();
    }
    this.#at++;
  }

  /** From a backquote, or from the "}" that ends a `${}`, to the next `${` or the closing backquote. */
  #blankTemplate(): void {
    this.#at++;
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at] as string;
      if (char === "`") break;
      if (char === "$" && this.#text[this.#at + 1] === "{") {
        this.#at += 2;
        this.#templates.push(0);
        return;
      }
      if (char === "\\") this.#blank();
      this.#blank();
    }
    this.#at++;
  }

  /** A slash starts a regular expression where a value may start. */
  #isRegexHere(): boolean {
    const before = this.#out
      .slice(Math.max(0, this.#at - 40), this.#at)
      .join("")
      .trimEnd();
    if (before === "") return true;
    return /(?:[(,=:[!&|?{};<>+*%~^-]|\b(?:return|typeof|case|in|of|do|else|void))$/.test(before);
  }

  #blankRegex(): void {
    this.#at++;
    let isInClass = false;
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at] as string;
      if (char === "\n" || (char === "/" && !isInClass)) break;
      if (char === "[") isInClass = true;
      if (char === "]") isInClass = false;
      if (char === "\\") this.#blank();
      this.#blank();
    }
    this.#at++;
  }
}
