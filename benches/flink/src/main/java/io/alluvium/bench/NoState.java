package io.alluvium.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Counts records and touches no state: what the job around the state costs. */
final class NoState extends KeyedProcessFunction<Long, Long, Void> {
    private static final long serialVersionUID = 1;

    private transient Script.Counter done;

    @Override
    public void open(OpenContext context) {
        done = new Script.Counter(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
    }

    @Override
    public void processElement(Long key, Context context, Collector<Void> out) {
        done.increment();
    }
}
