/** To be preloaded: V8's own sampling heap profiler, as DevTools start it. It sees objects of the heap, and no native memory. */
import inspector from "node:inspector";

const session = new inspector.Session();
session.connect();
session.post("HeapProfiler.startSampling", { samplingInterval: 32768 });
