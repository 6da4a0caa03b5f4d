import { formatSize, formatSizeDiff } from "../../model/format_number.ts";
import type { Measure } from "./model.ts";

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const signed = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, signDisplay: "always" });

/** Bytes or blocks. */
export function amount(value: number, measure: Measure): string {
  return measure === "size" ? formatSize(value) : grouped.format(value);
}

/** Likewise a change of them. */
export function amountChange(value: number, measure: Measure): string {
  return measure === "size" ? formatSizeDiff(value) : signed.format(value);
}

/** A part of a whole in percent; of nothing, nothing. */
export function share(part: number, whole: number): string {
  if (whole === 0) return "–";
  const percent = 100 * part / whole;
  return percent !== 0 && Math.abs(percent) < 0.1 ? "< 0.1 %" : `${percent.toFixed(1)} %`;
}
