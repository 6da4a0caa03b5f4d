/**
 * Calls functions until the engine has compiled them with each of its compilers, and lets them allocate all the while:
 * 500 times each, so that the number of blocks does not hang on how fast the machine is.
 */
const early = 200, soon = 100, late = 200;

/** How often a function that is heated up allocates. */
export const allocations = early + soon + late;

/**
 * When a round of calls that do not allocate ends. The first compiler is ready after a few hundred calls, and may be succeeded
 * soon: the first rounds are short. Others run on threads of their own: they need time, not calls alone.
 */
const endOf = (round: number) => round < soon ? 0 : performance.now() + 2;

/** Calls all of them in turn. */
export function heat(functions: readonly ((allocate: boolean) => void)[]): void {
  for (let i = 0; i < early; i++) {
    for (const call of functions) call(true);
  }
  for (let i = 0; i < soon + late; i++) {
    const end = endOf(i);
    do {
      for (let j = 0; j < 20; j++) {
        for (const call of functions) call(false);
      }
    } while (performance.now() < end);
    for (const call of functions) call(true);
  }
}

/** The same for a function that awaits something. */
export async function heatAsync(call: (allocate: boolean) => Promise<void>): Promise<void> {
  for (let i = 0; i < early; i++) await call(true);
  for (let i = 0; i < soon + late; i++) {
    const end = endOf(i);
    do {
      for (let j = 0; j < 20; j++) await call(false);
    } while (performance.now() < end);
    await call(true);
  }
}
