package io.alluvium.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Reads, changes and writes a value with the synchronous state API: a record waits for its read, and all behind it wait. */
final class SyncUpdate extends KeyedProcessFunction<Long, Long, Void> {
    private static final long serialVersionUID = 1;

    private final Values values;
    private transient ValueState<byte[]> state;
    private transient Script.Counter done;

    SyncUpdate(Values values) {
        this.values = values;
    }

    @Override
    public void open(OpenContext context) {
        var descriptor = new ValueStateDescriptor<>("values", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
        state = getRuntimeContext().getState(descriptor);
        done = new Script.Counter(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
    }

    @Override
    public void processElement(Long key, Context context, Collector<Void> out) throws Exception {
        if (Script.phase != Script.Phase.UPDATE) {
            state.update(values.first(key));
        } else {
            byte[] value = state.value();
            values.advance(key, value);
            state.update(value);
        }
        done.increment();
    }
}
