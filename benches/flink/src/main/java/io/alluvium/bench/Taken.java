package io.alluvium.bench;

import java.util.List;
import java.util.function.ToLongFunction;
import org.apache.flink.runtime.checkpoint.CheckpointStatsStatus;
import org.apache.flink.runtime.checkpoint.CompletedCheckpointStats;

/** The checkpoints that a job completes from now on, and what the store was asked meanwhile. */
final class Taken {
    /** How many the cluster remembers. */
    static final int KEPT = 10_000;

    /** Bytes of a key, beside those of its value. */
    private static final long KEY_BYTES = Long.BYTES;

    private static final long MICROS = 1000;

    private final Cluster cluster;
    private final long since = System.currentTimeMillis();
    private final long updates = Script.done();
    private final long[] requests = SlowFileSystem.requests.now();
    private final long failed;

    Taken(Cluster cluster) throws Exception {
        this.cluster = cluster;
        failed = failed();
    }

    Figures figures(Arguments arguments) throws Exception {
        List<CompletedCheckpointStats> completed = cluster.checkpoints().getHistory().getCheckpoints().stream()
                .filter(one -> one.getStatus() == CheckpointStatsStatus.COMPLETED && one.getTriggerTimestamp() >= since)
                .map(one -> (CompletedCheckpointStats) one)
                .toList();
        if (completed.isEmpty()) {
            throw new IllegalStateException("no checkpoint completed while values changed; give it more --seconds");
        }
        double count = completed.size();
        long[] now = SlowFileSystem.requests.now();
        return new Figures()
                .with("completed", completed.size())
                .with("failed", failed() - failed)
                .with("sync_micros", spread(completed, one -> syncMillis(one) * MICROS))
                .with("millis", spread(completed, CompletedCheckpointStats::getEndToEndDuration))
                .with("uploaded_bytes", completed.stream().mapToLong(CompletedCheckpointStats::getCheckpointedSize).sum() / count)
                .with("changed_bytes", (Script.done() - updates) * (KEY_BYTES + arguments.valueBytes()) / count)
                .with("state_bytes", completed.stream().mapToLong(CompletedCheckpointStats::getStateSize).max().orElse(0))
                .with("gets", (now[0] - requests[0]) / count)
                .with("puts", (now[1] - requests[1]) / count)
                .with("deletes", (now[2] - requests[2]) / count)
                .with("read_bytes", (now[3] - requests[3]) / count)
                .with("written_bytes", (now[4] - requests[4]) / count);
    }

    private long failed() throws Exception {
        return cluster.checkpoints().getCounts().getNumberOfFailedCheckpoints();
    }

    /** How long the slowest subtask stood still; Flink tells whole milliseconds. */
    private static long syncMillis(CompletedCheckpointStats checkpoint) {
        return checkpoint.getAllTaskStateStats().stream()
                .mapToLong(task -> task.getSummaryStats().getSyncCheckpointDurationStats().getMaximum())
                .max()
                .orElse(0);
    }

    private static Figures spread(List<CompletedCheckpointStats> completed, ToLongFunction<CompletedCheckpointStats> figure) {
        long[] all = completed.stream().mapToLong(figure).sorted().toArray();
        return new Figures()
                .with("p50", all[all.length / 2])
                .with("p99", all[Math.min(all.length * 99 / 100, all.length - 1)])
                .with("max", all[all.length - 1]);
    }
}
