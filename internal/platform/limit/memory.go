package limit

import "sync"

const (
	memoryKeys   = 100_000 // about 10 MB when full
	memoryShards = 64      // so that processors seldom wait for each other
	memoryLook   = 16      // counters looked at when a new one comes
)

// memory holds counters in this process, at most a fixed number of them.
type memory struct {
	shards   [memoryShards]shard
	perShard int
}

type shard struct {
	mu   sync.Mutex
	tats map[id]int64
}

func newMemory(keys int) *memory {
	m := &memory{perShard: max(1, keys/memoryShards)}
	for i := range m.shards {
		m.shards[i].tats = map[id]int64{}
	}
	return m
}

func (m *memory) take(id id, p pace, now int64) Decision {
	s := &m.shards[id.sum[0]%memoryShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	tat, known := s.tats[id]
	if !known {
		s.makeRoom(m.perShard, now)
	}
	allowed, tat := p.take(now, tat)
	s.tats[id] = tat
	return p.decision(allowed, now, tat)
}

// makeRoom looks at a few counters (ranging over a map starts anywhere), drops
// those that have run out and, if the shard is full all the same, the one of
// them that would run out first. So it costs the same however full the shard
// is, and a flood of new keys pushes out idle counters rather than those of the
// callers who are being held back.
func (s *shard) makeRoom(limit int, now int64) {
	var (
		first    id
		firstTat int64
		looked   int
	)
	for id, tat := range s.tats {
		if tat <= now {
			delete(s.tats, id)
		} else if firstTat == 0 || tat < firstTat {
			first, firstTat = id, tat
		}
		if looked++; looked == memoryLook {
			break
		}
	}
	if len(s.tats) >= limit {
		delete(s.tats, first)
	}
}
