/** Types of `tr46` 5.1.1, which ships none. Only what idna-mapping.ts uses. */
declare module "tr46" {
  export interface ToAsciiOptions {
    readonly checkHyphens: boolean;
    readonly checkBidi: boolean;
    readonly checkJoiners: boolean;
    readonly useSTD3ASCIIRules: boolean;
    readonly verifyDNSLength: boolean;
    readonly transitionalProcessing: boolean;
    readonly ignoreInvalidPunycode: boolean;
  }
  /** The A-label form, or null when the name breaks a rule. */
  export function toASCII(domainName: string, options: ToAsciiOptions): string | null;
}
