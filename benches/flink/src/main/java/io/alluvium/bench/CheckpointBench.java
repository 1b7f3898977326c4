package io.alluvium.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.RecoveryClaimMode;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;

/**
 * Checkpoints of a job whose values change at a fixed rate, then its restores at other parallelisms: until the first record.
 *
 * <p>The counterpart of {@code alluvium bench checkpoint}. Each restore is from the last checkpoint of the run before, in a
 * cluster of its own with empty folders, in the same process: Java is warm.
 */
public final class CheckpointBench {
    /** How long the rate is looked at to tell whether it is the old one. */
    private static final long WINDOW_MILLIS = 100;
    /** A restored job that has not come to the old rate by then is not waited for. */
    private static final long PATIENCE_MILLIS = 60_000;

    private static final int TRIES = 100;

    private final Arguments arguments;
    private final Cluster cluster;

    private CheckpointBench(Arguments arguments, int run, String restored) throws Exception {
        this.arguments = arguments;
        var configuration = configuration(arguments, run);
        cluster = new Cluster(configuration, arguments.parallelism());
        var keys = new PacedKeys(arguments.keys(), arguments.seed());
        var pace = PacedKeys.pace(arguments.keys(), arguments.updatesPerSecond());
        var graph = UpdateJob.graph(arguments, configuration, keys, pace);
        if (restored != null) {
            graph.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(restored, false, RecoveryClaimMode.CLAIM));
        }
        cluster.submit(graph);
    }

    public static void main(String[] line) {
        Ending.after(() -> measure(Arguments.parse(line)));
    }

    private static Figures measure(Arguments arguments) throws Exception {
        long started = System.nanoTime();
        var first = new CheckpointBench(arguments, 0, null);
        first.cluster.await(() -> Script.done() >= arguments.keys());
        double loadSeconds = (System.nanoTime() - started) / 1e9;
        Script.enter(Script.Phase.REST);
        first.cluster.awaitQuiet();
        // It has what the load wrote; those that count have what changed since one before.
        first.checkpoint();
        Figures checkpoints = first.update();
        String path = first.checkpoint();
        first.cluster.end();
        List<Figures> restores = new ArrayList<>();
        for (int parallelism : arguments.restoreAt()) {
            long begun = System.nanoTime();
            Script.enter(Script.Phase.UPDATE);
            long before = Script.done();
            long[] requests = SlowFileSystem.requests.now();
            var restored = new CheckpointBench(arguments.at(parallelism), restores.size() + 1, path);
            restores.add(restored.figures(begun, before, requests));
            path = restored.checkpoint();
            restored.cluster.end();
        }
        return arguments.figures("job-checkpoint")
                .with("updates_per_second", arguments.updatesPerSecond())
                .with("interval_millis", arguments.intervalMillis())
                .with("load_seconds", loadSeconds)
                .with("stored_bytes", SlowFileSystem.storedBytes(Backends.checkpoints(arguments)))
                .with("checkpoints", checkpoints)
                .with("restores", restores)
                .with("peak_rss_bytes", Figures.peakRssBytes())
                .with("versions", RmwBench.versions());
    }

    /** Changes values for some seconds and takes a checkpoint an interval, or as soon as the one before is complete. */
    private Figures update() throws Exception {
        var taken = new Taken(cluster);
        Script.enter(Script.Phase.UPDATE);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(arguments.seconds());
        while (System.nanoTime() < end) {
            long next = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(arguments.intervalMillis());
            cluster.await(() -> System.nanoTime() >= next);
            checkpoint();
        }
        Script.enter(Script.Phase.REST);
        return taken.figures(arguments);
    }

    /** Takes a checkpoint; says where it is. One that comes while a subtask still starts is refused, and asked for again. */
    private String checkpoint() throws Exception {
        for (int tries = 1; ; tries++) {
            var path = cluster.checkpoint();
            cluster.await(path::isDone);
            if (!path.isCompletedExceptionally() || tries == TRIES) {
                return path.get();
            }
            cluster.pass(WINDOW_MILLIS);
        }
    }

    /** What a restored job takes until it does what it did. */
    private Figures figures(long begun, long before, long[] requests) throws Exception {
        cluster.await(() -> Script.done() > before);
        long first = millisSince(begun);
        long[] now = SlowFileSystem.requests.now();
        Long oldRate = null;
        long wanted = arguments.updatesPerSecond() * WINDOW_MILLIS * 9 / 10_000;
        while (oldRate == null && millisSince(begun) < PATIENCE_MILLIS) {
            long done = Script.done();
            cluster.pass(WINDOW_MILLIS);
            oldRate = Script.done() - done >= wanted ? millisSince(begun) : null;
        }
        return new Figures()
                .with("parallelism", arguments.parallelism())
                .with("millis_to_first_record", first)
                .with("millis_to_old_rate", oldRate)
                .with("gets", now[0] - requests[0])
                .with("bytes_read", now[3] - requests[3]);
    }

    private static long millisSince(long begun) {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    }

    private static Configuration configuration(Arguments arguments, int run) {
        var configuration = Backends.configuration(arguments, run);
        // They are taken when it is time; without an interval Flink would not have barriers aligned.
        configuration.setString("execution.checkpointing.interval", "365 d");
        configuration.setString("execution.checkpointing.incremental", "true");
        configuration.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        configuration.setString("web.checkpoints.history", String.valueOf(Taken.KEPT));
        return configuration;
    }
}
