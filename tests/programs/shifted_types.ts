/** Types only: nothing of this file is left when it runs. */
export type Anything = unknown;
