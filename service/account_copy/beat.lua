-- Notes which partitions a writer has read to their end now; tells followers when the copy has become live.
-- ARGV after the epoch: model version or '', then partitions of scores and alerts alike.
if redis.call('HGET', copy, 'epoch') ~= ARGV[1] then return 'epoch' end
local now = now_ms()
for index = 3, #ARGV do redis.call('HSET', prefix .. 'current', ARGV[index], int(now)) end
if ARGV[2] ~= '' then redis.call('HSET', copy, 'model_version', ARGV[2]) end
local live = is_live(now) and '1' or '0'
if redis.call('HGET', copy, 'live') ~= live then
  redis.call('HSET', copy, 'live', live)
  if live == '1' then
    redis.call('XADD', prefix .. 'stream', 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'reset', 'row', '{}')
    keep_day(-1)
  end
end
return live
