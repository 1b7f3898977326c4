package io.alluvium.bench;

import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.runtime.util.EnvironmentInformation;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/**
 * Keyed read-modify-write in a local mini cluster: loads all keys, waits until the process is quiet, warms up, measures.
 *
 * <p>The last line of stdout is one object of JSON; the exit code is 1 if the job failed. {@code operator/src/main.rs} does the
 * same with Alluvium.
 */
public final class RmwBench {
    private static final long LOOK_MILLIS = 5;
    /** So long the process must have taken less than a fifth of a core. */
    private static final long QUIET_MILLIS = 1000;
    private static final int IDLE_SHARE = 5;

    private RmwBench() {}

    public static void main(String[] line) {
        int exit = 1;
        try {
            System.out.println(measure(Arguments.parse(line)));
            exit = 0;
        } catch (Throwable failure) {
            failure.printStackTrace();
        }
        System.out.flush();
        // Threads of ForSt's library keep the process alive, and closing a cluster is not what is measured.
        Runtime.getRuntime().halt(exit);
    }

    private static Figures measure(Arguments arguments) throws Exception {
        JobClient job = start(arguments);
        long started = System.nanoTime();
        await(job, () -> Script.done() >= arguments.keys());
        double loadSeconds = (System.nanoTime() - started) / 1e9;
        Script.phase = Script.Phase.REST;
        awaitQuiet(job);
        Script.phase = Script.Phase.UPDATE;
        pass(job, arguments.warmUpSeconds());
        long cpu = Figures.cpuNanos();
        long begun = System.nanoTime();
        long before = Script.done();
        pass(job, arguments.seconds());
        long operations = Script.done() - before;
        double seconds = (System.nanoTime() - begun) / 1e9;
        cpu = Figures.cpuNanos() - cpu;
        if (operations == 0) {
            throw new IllegalStateException("not one record was done within " + seconds + " s");
        }
        return new Figures()
                .with("case", "job-rmw")
                .with("backend", arguments.backend())
                .with("mode", arguments.api())
                .with("keys", arguments.keys())
                .with("value_bytes", arguments.valueBytes())
                .with("parallelism", arguments.parallelism())
                .with("seed", arguments.seed())
                .with("memory_bytes", arguments.memoryBytes())
                .with("cache_size_bytes", arguments.backend().equals("forst-remote") ? arguments.cacheBytes() : null)
                .with("latency_micros", arguments.latencyMicros())
                .with("operations", operations)
                .with("seconds", seconds)
                .with("operations_per_second", operations / seconds)
                .with("cpu", new Figures().with("micros_per_operation", cpu / 1e3 / operations))
                .with("load", new Figures()
                        .with("seconds", loadSeconds)
                        .with("keys_per_second", arguments.keys() / loadSeconds))
                .with("peak_rss_bytes", Figures.peakRssBytes())
                .with("versions", new Figures()
                        .with("flink", EnvironmentInformation.getVersion())
                        .with("java", System.getProperty("java.version")));
    }

    private static JobClient start(Arguments arguments) throws Exception {
        var environment = StreamExecutionEnvironment.createLocalEnvironment(
                arguments.parallelism(), Backends.configuration(arguments));
        var source = new DataGeneratorSource<>(
                new KeySource(arguments.keys(), arguments.seed()), Long.MAX_VALUE, Types.LONG);
        KeyedStream<Long, Long> keyed = environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "keys")
                .keyBy(key -> key, Types.LONG);
        boolean isAsync = arguments.api().equals("async");
        (isAsync ? keyed.enableAsyncState() : keyed)
                .process(function(arguments, isAsync), Types.VOID)
                .sinkTo(new DiscardingSink<>());
        return environment.executeAsync("job-rmw");
    }

    private static KeyedProcessFunction<Long, Long, Void> function(Arguments arguments, boolean isAsync) {
        if (arguments.backend().equals("none")) {
            return new NoState();
        }
        var values = new Values(arguments.valueBytes());
        return isAsync ? new AsyncUpdate(values) : new SyncUpdate(values);
    }

    private interface Condition {
        boolean holds();
    }

    private static void await(JobClient job, Condition condition) throws Exception {
        while (!condition.holds()) {
            Thread.sleep(LOOK_MILLIS);
            JobStatus status = job.getJobStatus().get();
            if (status.isGloballyTerminalState() || status == JobStatus.FAILING) {
                job.getJobExecutionResult().get();
                throw new IllegalStateException("the job ended by itself: " + status);
            }
        }
    }

    private static void pass(JobClient job, int seconds) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        await(job, () -> System.nanoTime() >= end);
    }

    /** Flushes and compactions have ended: they run in this process. */
    private static void awaitQuiet(JobClient job) throws Exception {
        long cpu;
        do {
            cpu = Figures.cpuNanos();
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(QUIET_MILLIS);
            await(job, () -> System.nanoTime() >= end);
        } while ((Figures.cpuNanos() - cpu) * IDLE_SHARE > TimeUnit.MILLISECONDS.toNanos(QUIET_MILLIS));
    }
}
