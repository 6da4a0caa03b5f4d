/** A size in bytes as CPython shows it: `4855 KiB`, `97.7 KiB`, `512 B`. */
export function formatSize(size: number): string {
  return format(size, false);
}

/** A difference of sizes in bytes as CPython shows it: `+4428 KiB`, `-1.5 MiB`, `+0 B`. */
export function formatSizeDiff(size: number): string {
  return format(size, true);
}

/** A number without its fraction, as Python's `%i`. */
export function formatInteger(value: number): string {
  return BigInt(Math.trunc(value)).toString();
}

/** Likewise with its sign, as Python's `%+i`. */
export function formatSignedInteger(value: number): string {
  const text = formatInteger(value);
  return text.startsWith("-") ? text : `+${text}`;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

function format(size: number, signed: boolean): string {
  let unit = 0;
  for (; Math.abs(size) >= 10 * 1024 && unit < units.length - 1; unit++) size /= 1024;
  const digits = unit > 0 && Math.abs(size) < 100 ? oneDecimal(Math.abs(size)) : noDecimal(Math.abs(size));
  const sign = size < 0 ? "-" : signed ? "+" : "";
  return `${sign}${digits} ${units[unit]}`;
}

/** As `%.0f`: halves go to the even neighbour. */
function noDecimal(value: number): string {
  const floor = Math.floor(value);
  const rest = value - floor;
  const up = rest > 0.5 || rest === 0.5 && floor % 2 === 1;
  return BigInt(up ? floor + 1 : floor).toString();
}

/** As `%.1f`: likewise. Only a quarter and three quarters lie exactly between two decimals. */
function oneDecimal(value: number): string {
  const rest = value - Math.floor(value);
  if (rest !== 0.25 && rest !== 0.75) return value.toFixed(1);
  return `${Math.floor(value)}.${rest === 0.25 ? 2 : 8}`;
}
