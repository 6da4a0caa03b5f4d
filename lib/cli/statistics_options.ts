import { Domain } from "../model/domain.ts";
import { DomainFilter } from "../model/domain_filter.ts";
import { Filter } from "../model/filter.ts";
import type { KeyType } from "../model/key_type.ts";
import { type Arguments, type OptionSpec, suggest, UsageError } from "./arguments.ts";

/** Options of the commands that take part of a snapshot. */
export const filterOptions: readonly OptionSpec[] = [
  { name: "--include", value: "PATTERN", multiple: true, help: "only blocks allocated in files like src/*" },
  { name: "--exclude", value: "PATTERN", multiple: true, help: "no blocks allocated in files like */node_modules/*" },
  { name: "--domain", value: "DOMAIN", multiple: true, help: `only ${Object.keys(Domain).join(", ")}, or a number` },
];

/** Options of the commands that show statistics. */
export const statisticsOptions: readonly OptionSpec[] = [
  { name: "--by", value: "KEY", help: "group by lineno (the default), filename or traceback" },
  { name: "--cumulative", help: "count a block for every line of its traceback, not for the most recent alone" },
  { name: "-n", value: "COUNT", help: "show so many groups (10)" },
  ...filterOptions,
  { name: "--json", help: "print JSON" },
];

/** What {@link statisticsOptions} say. */
export interface StatisticsSettings {
  readonly keyType: KeyType;
  readonly cumulative: boolean;
  readonly limit: number;
  readonly filters: readonly (Filter | DomainFilter)[];
  readonly json: boolean;
}

const keyTypes: readonly KeyType[] = ["lineno", "filename", "traceback"];

/**
 * Reads {@link statisticsOptions}.
 *
 * @throws {UsageError} Where a value is none of those allowed.
 */
export function readStatisticsOptions(args: Arguments): StatisticsSettings {
  const by = args.last("--by") ?? "lineno";
  const keyType = keyTypes.find((type) => type === by);
  if (keyType === undefined) {
    throw new UsageError(`--by must be ${oneOf(keyTypes)}, not ${by}${suggest(by, keyTypes)}`);
  }
  const cumulative = args.has("--cumulative");
  if (cumulative && keyType === "traceback") {
    throw new UsageError("--cumulative needs --by lineno or --by filename: a traceback has all of its lines already");
  }
  const count = args.last("-n") ?? "10";
  if (!/^[0-9]+$/.test(count)) throw new UsageError(`-n must be a whole number, not ${count}`);
  return {
    keyType,
    cumulative,
    limit: Number(count),
    filters: readFilters(args),
    json: args.has("--json"),
  };
}

/**
 * Reads {@link filterOptions}: a block must be of one of the domains and match one of the patterns to include, and none
 * of those to exclude.
 *
 * @throws {UsageError} Where a domain is none.
 */
export function readFilters(args: Arguments): (Filter | DomainFilter)[] {
  const include = args.all("--include"), exclude = args.all("--exclude");
  const domains = args.all("--domain").map(readDomain);
  const excluding = exclude.map((pattern) => new Filter(false, pattern));
  // Of filters that include it is enough to match one: where both are asked for, each must ask for both.
  if (include.length === 0) return [...domains.map((domain) => new DomainFilter(true, domain)), ...excluding];
  const including = include.flatMap((pattern) =>
    domains.length === 0 ? [new Filter(true, pattern)] : domains.map((domain) => new Filter(true, pattern, { domain }))
  );
  return [...including, ...excluding];
}

function readDomain(text: string): number {
  const named = Object.entries(Domain).find(([name]) => name === text);
  if (named !== undefined) return named[1];
  const number = Number(text);
  if (/^[0-9]+$/.test(text) && number <= 0xffff_ffff) return number;
  const names = Object.keys(Domain);
  throw new UsageError(`--domain must be ${oneOf(names)} or a number, not ${text}${suggest(text, names)}`);
}

function oneOf(names: readonly string[]): string {
  return names.join(", ");
}
