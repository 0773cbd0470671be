-- Finds the copy, or begins an empty one; returns its epoch. ARGV: an epoch to begin with, format, partitions, the epoch
-- of a copy that must not go on or ''. What an earlier epoch left stays beside it until the writer has swept it away.
local epoch = redis.call('HGET', copy, 'epoch')
local same = epoch and redis.call('HGET', copy, 'format') == ARGV[2] and redis.call('HGET', copy, 'partitions') == ARGV[3]
if same and epoch ~= ARGV[4] then return epoch end
redis.call('DEL', copy)
redis.call('HSET', copy, 'epoch', ARGV[1], 'format', ARGV[2], 'partitions', ARGV[3], 'live', '0')
return ARGV[1]
